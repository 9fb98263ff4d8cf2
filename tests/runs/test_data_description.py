"""A run knows whose scans it learned from, and tells a dataset's split that is another."""

import json
import re
from pathlib import Path

import pytest
from made_plans import fingerprint
from pydantic import ValidationError

from kseg.console.errors import InputError
from kseg.records.manifest import CaseEntry, Manifest
from kseg.records.plan import make_plan
from kseg.runs.data_description import DataDescription, LearnedFrom
from kseg.runs.run_folder import RunFolder

SPLIT = {"a": "train", "b": "train", "c": "val", "d": "test"}
DESCRIPTION = DataDescription(channels=("MRI",), labels={"background": 0, "muscle": 100})
CASES = {f"{subject}{number}": "1" * 64 for subject in "abc" for number in (1, 2)}
OF_SPLIT = DESCRIPTION.model_copy(update={"learned_from": LearnedFrom(train=("a", "b"), val=("c",), cases=CASES)})


def split_manifest(**splits: str) -> Manifest:
    """A manifest with two cases of each subject."""
    cases = tuple(
        CaseEntry(
            case=f"{subject}{number}",
            subject=subject,
            split=split,
            file=f"{subject}{number}.tfrecord",
            head=0,
            bytes=1,
            sha256="0" * 64,
            source="1" * 64,
            recipe="2" * 64,
            **dict(fingerprint()),
        )
        for subject, split in splits.items()
        for number in (1, 2)
    )
    plan = make_plan(cases, ("MRI",), ("background", "muscle"), memory_gb=4)
    return Manifest(
        kseg_version="1.0",
        source="legs",
        seed=1,
        channels=DESCRIPTION.channels,
        labels=DESCRIPTION.labels,
        plan=plan,
        cases=cases,
    )


def test_it_learns_from_the_subjects_to_train_and_to_validate_on() -> None:
    assert LearnedFrom.of_split(split_manifest(**SPLIT)) == OF_SPLIT.learned_from


def test_it_comes_back_from_json() -> None:
    text = json.dumps(OF_SPLIT.model_dump(mode="json"))
    assert DataDescription.model_validate_json(text) == OF_SPLIT
    with pytest.raises(ValidationError):
        DataDescription.model_validate_json(text.replace('"train"', '"trains"'))


CT = {"kind": "ct", "statistics": [-900.0, 1200.0, 40.0, 300.0]}
RANGE = [0.0, 200.0]
MISFITS = {
    "two scales": ({"scales": [CT, CT]}, "scales: 2 scales for 1 channel"),
    "a scale of two channels": ({"channels": ["CT", "PET"], "scales": [CT]}, "scales: 1 scale for 2 channels"),
    "ranges of no channel": ({"seen": {"intensities": []}}, "seen.intensities: 0 lists for 1 channel"),
    "ranges of two": ({"seen": {"intensities": [[RANGE], [RANGE]]}}, "seen.intensities: 2 lists for 1 channel"),
    "ranges of no scan": ({"seen": {"intensities": [[]]}}, "seen.intensities.0: "),
    "spacing along two axes": ({"spacing_mm": [1.0, 1.0]}, "spacing_mm: it must have three numbers"),
    "one class": ({"labels": {"background": 0}}, "a label map holds 2 to"),
    "a region of nothing": ({"regions": [{"name": "a", "labels": [], "writes": "muscle"}]}, "names no label"),
    "an ignored class": ({"ignore": 100}, "the label value 100 stands twice"),
    "an empty slice of a class": ({"annotation": {"across": "z", "empty_value": 100}}, "is the value of 'muscle'"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_its_channels_or_labels_is_refused_when_it_is_read(what: str, tmp_path: Path) -> None:
    change, message = MISFITS[what]
    folder = RunFolder(tmp_path)
    folder.data_description.write_text(json.dumps(DESCRIPTION.model_dump(mode="json") | change))
    with pytest.raises(InputError, match=rf"^'[^\n]*data\.json' is damaged \([^\n]*{re.escape(message)}[^\n]*$"):
        folder.load_data_description()


def test_a_run_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    document = OF_SPLIT.model_dump(mode="json")
    del document["other_labels"], document["learned_from"]["images"], document["learned_before"]["images"]
    assert DataDescription.model_validate(document) == OF_SPLIT


def test_as_many_scales_and_ranges_as_channels_are_read(tmp_path: Path) -> None:
    fitting = {"channels": ["CT", "PET"], "scales": [CT, {}], "seen": {"intensities": [[RANGE], [RANGE, RANGE]]}}
    folder = RunFolder(tmp_path)
    folder.data_description.write_text(json.dumps(DESCRIPTION.model_dump(mode="json") | fitting))
    assert len(folder.load_data_description().scales) == 2


def test_the_same_split_is_no_change() -> None:
    assert OF_SPLIT.split_changes(split_manifest(**SPLIT)) == []
    assert OF_SPLIT.split_changes(split_manifest(**SPLIT, e="test")) == []  # of whom it has learned nothing
    assert OF_SPLIT.split_changes(split_manifest(a="train", b="train", c="val")) == []


@pytest.mark.parametrize(
    ("splits", "changes"),
    [
        ({"a": "test"}, ["subject 'a' was train, is test"]),
        (
            {"b": "val", "c": "train"},
            ["subject 'b' was train, is val", "subject 'c' was val, is train"],
        ),
        ({"d": "val"}, ["subject 'd' was not there, or test, is val"]),
        ({"e": "train"}, ["subject 'e' was not there, or test, is train"]),
    ],
)
def test_each_subject_that_is_elsewhere_is_named(splits: dict[str, str], changes: list[str]) -> None:
    assert OF_SPLIT.split_changes(split_manifest(**(SPLIT | splits))) == changes


def test_a_subject_that_is_gone_is_named() -> None:
    assert OF_SPLIT.split_changes(split_manifest(a="train", c="val", d="test")) == ["subject 'b' was train, is gone"]


def test_a_fold_shares_out_who_is_not_to_test() -> None:
    fold = DESCRIPTION.model_copy(
        update={"val_subjects": ("a",), "learned_from": LearnedFrom(train=("b", "c"), val=("a",))}
    )
    assert fold.split_changes(split_manifest(**SPLIT)) == []
    assert fold.split_changes(split_manifest(**(SPLIT | {"b": "val", "c": "train"}))) == []
    changed = fold.split_changes(split_manifest(**(SPLIT | {"c": "test", "d": "train"})))
    assert changed == ["subject 'c' was train, is test", "subject 'd' was not there, or test, is train"]


def test_a_case_that_is_another_than_the_one_it_learned_from_is_named() -> None:
    manifest = split_manifest(**SPLIT)
    assert OF_SPLIT.changes(manifest) == []
    first, second, *others = manifest.cases
    corrected = first.model_copy(update={"origin_hash": "3" * 64})
    renamed = second.model_copy(update={"case": "a3"})
    changed = manifest.model_copy(update={"cases": (corrected, renamed, *others)})
    assert OF_SPLIT.split_changes(changed) == []
    assert OF_SPLIT.changes(changed) == ["case 'a1' is another now", "case 'a2' is gone", "case 'a3' is new"]
    tested = tuple(case.model_copy(update={"origin_hash": "3" * 64}) for case in others if case.subject == "d")
    assert OF_SPLIT.changes(manifest.model_copy(update={"cases": (*manifest.cases[:-2], *tested)})) == []
    earlier = OF_SPLIT.model_copy(update={"learned_from": LearnedFrom(train=("a", "b"), val=("c",))})
    assert earlier.changes(changed) == []  # it does not know better


def test_a_run_of_an_earlier_version_knows_of_no_change() -> None:
    assert DESCRIPTION.split_changes(split_manifest(**(SPLIT | {"a": "test"}))) == []


def test_who_chose_the_model_is_known_of_folds_of_earlier_versions_too() -> None:
    assert OF_SPLIT.chosen_by == ("c",)
    assert DESCRIPTION.model_copy(update={"val_subjects": ("a",)}).chosen_by == ("a",)
    assert OF_SPLIT.of_scans == DESCRIPTION
    assert OF_SPLIT.model_copy(update={"other_labels": {"bone": 7}}).of_scans == DESCRIPTION


def test_a_scan_whose_labels_were_corrected_is_the_same_scan() -> None:
    images = {"a": "a" * 64, "b": "b" * 64, "c": "c" * 64, "d": None}
    manifest = split_manifest(a="train", b="train", c="val", d="test")
    cases = tuple(case.model_copy(update={"image_hash": images[case.subject]}) for case in manifest.cases)
    learned = LearnedFrom.of_split(manifest.model_copy(update={"cases": cases}))
    assert learned.images == ("a" * 64, "b" * 64, "c" * 64)
    corrected = [case.model_copy(update={"origin_hash": "9" * 64, "case": f"{case.case}_new"}) for case in cases]
    assert learned.same_scans(corrected, "test") == {"a", "b", "c"}
    assert learned.same_scans(corrected, "val") == {"a", "b"}
    assert learned.joined(LearnedFrom()).same_scans(corrected, "test") == {"a", "b", "c"}
    earlier = learned.model_copy(update={"images": ()})
    assert learned.agrees(earlier)
    assert not learned.agrees(learned.model_copy(update={"val": ("d",)}))
    assert earlier.same_scans(corrected, "test") == set()  # it does not know better


def test_who_only_validated_may_validate_again_and_who_trained_an_earlier_run_may_not() -> None:
    first = LearnedFrom.of_split(split_manifest(a="train", b="train", c="val"))
    cases = split_manifest(a="val", b="train", c="val").of_split("val")
    cases = [case.model_copy(update={"origin_hash": case.subject * 64}) for case in cases]
    hashes = {case.case: case.origin_hash for case in cases}
    first = first.model_copy(update={"cases": hashes})
    assert first.same_scans(cases, "val") == {"a"}
    assert first.same_scans(cases, "test") == {"a", "c"}
    second = LearnedFrom(train=("b",), val=("a", "c"), cases=hashes)
    assert second.same_scans(cases, "val") == set()
    assert second.joined(first).same_scans(cases, "val") == {"a"}
