"""`kseg.predict` on what people have: trees with label maps and other files, lists of cases, scans of another kind."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series
from printed import last_json
from threshold import Threshold

from kseg import predict
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.scans import find_scans
from kseg.records.write import write_dataset
from kseg.runs import trained_run
from kseg.runs.seen_scans import SeenScans

SEEN = SeenScans(spacing_mm=((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), intensities=(((0.0, 250.0),),))
LABELS = "data.labels={background = 0, muscle = 100}"


@pytest.fixture(autouse=True)
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Threshold:
    """A run that marks what is brighter than 100 with 200; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    threshold = Threshold(100)
    threshold.seen, threshold.channel_names = SEEN, ("ultrasound",)
    monkeypatch.setattr(predict, "_open_predictor", lambda *_: threshold)
    return threshold


def save(path: str, array: np.ndarray, spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, path)
    return Path(path)


def scan(path: str, seed: int = 0, **options: Any) -> Path:
    return save(path, np.random.default_rng(seed).integers(0, 250, (9, 10, 12)).astype(np.uint8), **options)


def label_map(path: str, *values: int) -> Path:
    array = np.zeros((9, 10, 12), np.uint8)
    for place, value in enumerate(values):
        array[2 * place + 1, 3:8, 3:8] = value
    return save(path, array)


def bright_ml(path: str | Path) -> float:
    image = sitk.ReadImage(str(path))
    return float((sitk.GetArrayFromImage(image) > 100).sum() * np.prod(image.GetSpacing()) / 1000)


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_a_tree_is_segmented_and_mirrored_with_a_table_of_volumes(capsys: pytest.CaptureFixture[str]) -> None:
    scans = [scan("LEG/3/x1.mha", 1), scan("LEG/4/x1.mha", 2), scan("LEG/4/x2.nrrd", 3)]
    labels = [label_map("LEG/3/masksX1.mha", 100), label_map("LEG/4/drawn.nrrd", 100, 150)]
    Path("LEG/notes.txt").write_text("x", encoding="utf-8")
    predict.main(["run", "LEG", "--out", "masks", "--json"])
    said = capsys.readouterr()
    assert files("masks") == ["3/x1.mha", "4/x1.mha", "4/x2.nrrd", "measures.csv", "volumes.csv"]
    report = last_json(said.out)
    assert report["skipped"] == {
        str(labels[0]): "is a label map, by its name",
        str(labels[1]): "is a label map: it holds 3 values, 0, 100, 150",
    }
    assert (report["failed"], report["warnings"]) == ([], {})
    with Path("masks/volumes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [{key: "" if value is None else str(value) for key, value in row.items()} for row in report["volumes"]]
    assert rows == told
    assert {row["case"]: (row["class_name"], row["mask"]) for row in rows} == {
        "3/x1": ("bright", "3/x1.mha"),
        "4/x1": ("bright", "4/x1.mha"),
        "4/x2": ("bright", "4/x2.nrrd"),
    }
    assert [row["prediction_ml"] for row in report["volumes"]] == pytest.approx([bright_ml(path) for path in scans])
    lines = said.err.splitlines()
    assert "passed over in 'LEG', as no scans: notes.txt" in lines
    assert f"skipped: '{labels[0]}' is a label map, by its name" in lines
    assert lines[-1] == "2 volumes skipped: name a file itself to segment it all the same"
    assert f"masks/3/x1.mha: bright {bright_ml(scans[0]):.1f} ml" in lines


def test_measures_beside_the_masks_are_those_of_simpleitk(capsys: pytest.CaptureFixture[str]) -> None:
    legs = [scan(f"legs/{name}.mha", seed, spacing_mm=(0.5, 0.7, 2.0)) for seed, name in enumerate(("a", "b", "größe"))]
    predict.main(["run", "legs", "--out", "masks", "--json"])
    told = last_json(capsys.readouterr().out)["measures"]
    text = Path("masks/measures.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    assert rows == [{key: "" if value is None else str(value) for key, value in row.items()} for row in told]
    assert Path("masks/measures.csv").read_bytes().startswith("\ufeffcase,".encode())  # a spreadsheet knows it by that
    for path, row in zip(legs, told, strict=True):
        assert (row["case"], row["class_name"], row["axis"]) == (path.stem, "bright", "z")
        itk = sitk.LabelIntensityStatisticsImageFilter()
        itk.Execute(sitk.ReadImage(f"masks/{path.name}"), sitk.ReadImage(str(path)))
        assert row["volume_ml"] == pytest.approx(itk.GetPhysicalSize(200) / 1000)
        assert row["image_mean"] == pytest.approx(itk.GetMean(200))
        assert row["image_sd"] == pytest.approx(itk.GetStandardDeviation(200))
        bright = (pixels := sitk.GetArrayFromImage(sitk.ReadImage(str(path)))) > 100
        assert row["image_median"] == np.median(pixels[bright])
        x, y, z = itk.GetCentroid(200)  # LPS
        assert [row[f"centroid_{axis}_ras_mm"] for axis in "xyz"] == pytest.approx([-x, -y, z])
        areas = bright.sum(axis=(1, 2)) * 0.5 * 0.7
        assert (row["largest_area_mm2"], row["largest_area_slice"]) == (pytest.approx(areas.max()), int(areas.argmax()))
        assert (row["length_mm"], row["touches_border"]) == (18.0, True)


def test_bad_inputs_of_a_tree_are_told_and_stop_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    scan("all/leg.mha")
    Path("all/broken.nii.gz").write_bytes(b"not a volume")
    for series in ("1", "2"):
        save_series(Path("all/two"), np.arange(200, dtype=np.int16).reshape(10, 10, 2), series=series)
    save_series(Path("all/series"), np.arange(200, dtype=np.int16).reshape(10, 10, 2))
    with pytest.raises(InputError, match=r"2 of 4 inputs failed: all/broken\.nii\.gz, all/two; see above"):
        predict.main(["run", "all", "--out", "masks", "--json"])
    said = capsys.readouterr()
    assert files("masks") == ["leg.mha", "measures.csv", "series.nii.gz", "volumes.csv"]
    assert last_json(said.out)["failed"] == ["all/broken.nii.gz", "all/two"]
    assert "'all/two' must hold one DICOM series: received 2" in said.err
    assert "'all/broken.nii.gz' cannot be read" in said.err


def test_a_label_map_that_is_named_is_segmented_and_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    path = label_map("drawn.mha", 100, 200)
    predict.main(["run", str(path), "--out", "masks", "--json"])
    assert last_json(capsys.readouterr().out)["warnings"] == {
        "drawn.mha": ["looks like a label map: it holds 3 values, 0, 100, 200"]
    }
    assert Path("masks/drawn.mha").is_file()


def test_a_tree_of_which_nothing_is_left_is_an_error() -> None:
    label_map("tree/drawn.mha", 7)
    with pytest.raises(InputError, match="no scan is left to segment: all were skipped; see above"):
        predict.main(["run", "tree", "--out", "masks"])
    assert not files("masks")


def test_a_scan_of_another_kind_is_segmented_and_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    ct = np.random.default_rng(0).integers(-1000, 1200, (9, 10, 12)).astype(np.int16)
    save("ct.mha", ct, (1.0, 1.0, 5.0))
    scan("leg.mha")
    predict.main(["run", "ct.mha", "leg.mha", "--out", "masks", "--json"])
    said = capsys.readouterr()
    (spacing, intensities) = last_json(said.out)["warnings"].pop("ct.mha")
    assert spacing == "is unlike the scans of the training: voxels of 1 x 1 x 5 mm, in training 1 x 1 x 1 mm"
    assert intensities.startswith("is unlike the scans of the training: 'ultrasound' from -9")
    assert intensities.endswith("in training from 0 to 250, by the 0.5 and 99.5 percentiles")
    assert f"warning: 'ct.mha' {spacing}" in said.err.splitlines()
    assert "warning: 'leg.mha'" not in said.err


def test_a_run_that_does_not_say_what_it_saw_warns_of_nothing(predictor: Threshold, capsys) -> None:
    predictor.seen = None
    save("ct.mha", np.random.default_rng(0).integers(-1000, 1200, (9, 10, 12)).astype(np.int16), (1.0, 1.0, 5.0))
    predict.main(["run", "ct.mha", "--out", "masks"])
    assert "warning" not in capsys.readouterr().err


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared dataset of three cases, and a run of it."""
    rows = ["case,subject,split,image,label"]
    for number, split in enumerate(("train", "val", "test")):
        scan(f"scans/{number}/x1.mha", number)
        label_map(f"scans/{number}/mask.mha", 100)
        rows.append(f"leg{number},s{number},{split},scans/{number}/x1.mha,scans/{number}/mask.mha")
    Path("cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = load_recipe(None, ["data.source=cases.csv", "data.records=records", LABELS])
    write_dataset(recipe, find_scans(recipe))
    monkeypatch.setattr(trained_run, "open_trained", lambda _: SimpleNamespace(recipe=recipe))


def test_a_list_and_a_split_of_the_dataset_are_segmented_under_the_names_of_the_cases(dataset: None, capsys) -> None:
    predict.main(["run", "cases.csv", "--out", "all"])
    assert files("all") == ["leg0.mha", "leg1.mha", "leg2.mha", "measures.csv", "volumes.csv"]
    predict.main(["run", "--split", "test", "--out", "tests"])
    assert files("tests") == ["leg2.mha", "measures.csv", "volumes.csv"]
    shutil.rmtree("scans/2")
    capsys.readouterr()
    with pytest.raises(InputError, match=r"'.*scans/2/x1\.mha' does not exist: correct the path"):
        predict.main(["run", "--split", "test", "--out", "gone"])


def test_a_split_without_cases_or_files_is_one_line(dataset: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Path("cases.csv").read_text(encoding="utf-8").splitlines()
    Path("cases.csv").write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"'cases\.csv' has none of the test cases of 'records'"):
        predict.main(["run", "--split", "test", "--out", "masks"])
    Path("cases.csv").unlink()
    with pytest.raises(InputError, match=r"'cases\.csv' does not exist"):
        predict.main(["run", "--split", "test", "--out", "masks"])
    phantom = SimpleNamespace(recipe=load_recipe(None, []))
    monkeypatch.setattr(trained_run, "open_trained", lambda _: phantom)
    with pytest.raises(InputError, match=r"is the phantom, which has no files: name scans"):
        predict.main(["run", "--split", "test", "--out", "masks"])
    assert not Path("masks").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no scan is named: give volumes, folders, or a list of cases; or --split"),
        (["a.mha", "--split", "test"], "--split is for cases of the run's own dataset: leave out 'a.mha'"),
        (["--split", "test", "--server", "there"], "--split is for a run on this machine"),
        (["--split", "dev"], "invalid choice: 'dev'"),
        (["nothing.xyz"], r"'nothing\.xyz' does not exist: correct the path"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict.main(["run", *words, "--out", "masks"])


def test_the_other_files_of_a_scan_are_found_or_named_in_one_line(predictor: Threshold, capsys) -> None:
    predictor.channels, predictor.channel_names = 2, ("t1", "t2")
    predictor.seen = None
    first, second = scan("leg_t1.mha"), scan("leg_t2.mha", 5)
    predict.main(["run", str(second), "--out", "masks"])
    assert files("masks") == ["leg.mha", "measures.csv", "volumes.csv"]
    mask = sitk.GetArrayFromImage(sitk.ReadImage("masks/leg.mha"))
    np.testing.assert_array_equal(mask == 200, sitk.GetArrayFromImage(sitk.ReadImage(str(first))) > 100)
    scan("arm_t2.mha")
    with pytest.raises(InputError, match=r"scan 'arm\.mha' has arm_t2\.mha, but no arm_t1\.mha: name its files"):
        predict.main(["run", "arm_t2.mha", "--out", "masks"])
