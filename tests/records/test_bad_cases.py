"""Bad cases are told once each, and the labels that they lack together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.bad_cases import BadCases
from kseg.records.scans import ScanList, find_scans, only_classes
from kseg.records.write_case import Outcome
from kseg.volumes.labels import LabelMap, UnknownLabelValues
from kseg.volumes.read import open_image, open_labels
from kseg.volumes.regions import Region


def bad(case: str, *values: float) -> Outcome:
    return Outcome(case=case, reason=f"'{case}' is bad.", unknown_values=values)


def refused(cases: BadCases) -> str:
    with pytest.raises(InputError) as caught:
        cases.end()
    return str(caught.value)


def test_one_is_the_refusal_itself(scans: Callable[..., ScanList], capsys: pytest.CaptureFixture[str]) -> None:
    cases = BadCases(scans(), skip=False)
    cases.end()
    cases.add(bad("case_2"))
    assert refused(cases) == "'case_2' is bad; or leave the case out with --skip-bad"
    assert capsys.readouterr().err == ""


def test_several_are_told_as_they_come(scans: Callable[..., ScanList], capsys: pytest.CaptureFixture[str]) -> None:
    cases = BadCases(scans(), skip=False)
    told = ["", "bad case case_1: 'case_1' is bad.\nbad case case_2: 'case_2' is bad.\n"]
    for case, lines in zip(("case_1", "case_2", "case_3"), [*told, "bad case case_3: 'case_3' is bad.\n"], strict=True):
        cases.add(bad(case))
        assert capsys.readouterr().err == lines
    assert refused(cases) == "3 of 8 cases are bad, listed above: correct them; or leave them out with --skip-bad"


def test_those_that_are_left_out_are_told_at_once_and_no_refusal(
    scans: Callable[..., ScanList], capsys: pytest.CaptureFixture[str]
) -> None:
    cases = BadCases(scans(), skip=True)
    cases.add(bad("case_1", 5))
    cases.end()
    line, note = capsys.readouterr().err.splitlines()
    assert line == "left out case_1: 'case_1' is bad."
    assert note.startswith("note: to name all values: 'data.labels={background = 0, muscle = 100, label_5 = 5}' on the")


def test_the_labels_to_paste_have_all_classes_of_the_files(scans: Callable[..., ScanList]) -> None:
    found = scans()
    labels = LabelMap(("background", "muscle", "bone"), (0, 100, 7))
    some = only_classes(ScanList(found.channels, labels, found.scans), ["bone"])
    cases = BadCases(some, skip=False)
    cases.add(bad("case_1", 5, 3))
    cases.add(bad("case_2", 3, -2))
    wanted = "{background = 0, muscle = 100, bone = 7, label_minus_2 = -2, label_3 = 3, label_5 = 5}"
    assert f"'data.labels={wanted}' on the command line, or labels = {wanted} in" in refused(cases)


def test_a_value_that_no_region_has_is_not_made_a_class_beside_them(scans: Callable[..., ScanList]) -> None:
    regions = (Region(name="whole", labels=("muscle",), writes="muscle"),)
    found = scans()
    found = replace(found, labels=LabelMap(("background", "muscle"), (0, 100), None, regions))
    cases = BadCases(found, skip=False)
    cases.add(bad("case_1", 5))
    assert "to name all values" not in refused(cases)
    assert "put it into those of whole that have it, or correct" in str(UnknownLabelValues("it", [5], found.labels))


def test_so_many_values_are_those_of_an_image(scans: Callable[..., ScanList]) -> None:
    cases = BadCases(scans(), skip=False)
    cases.add(bad("case_1", *range(300)))
    assert "data.labels" not in refused(cases)
    assert "so many are those of an image" in str(
        UnknownLabelValues("it", range(300), LabelMap(("background", "a"), (0, 1)))
    )


def test_all_values_of_a_label_map_are_known_though_slabs_pass_by(tmp_path: Path) -> None:
    labels = np.zeros((6, 5, 9), np.uint8)
    for plane in range(9):
        labels[:, :, plane] = (plane % 3) * 10 + plane
    image = np.random.default_rng(0).integers(0, 99, labels.shape).astype(np.int16)
    for name, array in (("image.nii", image), ("label.nii", labels)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name)
    stream = open_labels(
        tmp_path / "label.nii", LabelMap(("background", "a"), (0, 11)), open_image([tmp_path / "image.nii"], "c"), "c"
    )
    with pytest.raises(UnknownLabelValues) as caught:
        list(stream.read(2))
    assert set(caught.value.values) == set(np.unique(labels).tolist()) - {0, 11}


def test_labels_without_names_are_told_with_all_their_values(tmp_path: Path) -> None:
    for case, values in (("a", (0, 5)), ("b", (0, 7))):
        array = np.resize(np.array(values, np.uint8), (6, 5, 4))
        for name in (f"{case}.nii", f"{case}_label.nii"):
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name)
    rows = ["case,subject,split,image,label", "a,a,,a.nii,a_label.nii", "b,b,,b.nii,b_label.nii", "c,c,,c.nii,gone.nii"]
    (tmp_path / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match=r"no labels: .* 'data\.labels={background = 0, label_5 = 5, label_7 = 7}'"):
        find_scans(load_recipe(None, [f"data.source={tmp_path / 'cases.csv'}"]))
