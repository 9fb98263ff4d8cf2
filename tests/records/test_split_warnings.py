"""A split of one subject is told of, with commands that work."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from kseg import prepare
from kseg.recipe.load import load_recipe
from kseg.records.folds import validation_folds
from kseg.records.manifest import Manifest, load_manifest
from kseg.records.scans import ScanList
from kseg.records.split_warnings import split_warnings
from kseg.records.write import write_dataset


@pytest.fixture
def manifest(scans: Callable[..., ScanList], tmp_path: Path) -> Callable[..., Manifest]:
    """The manifest of a dataset with so many subjects in each split."""
    return lambda train, val, test: write_dataset(
        load_recipe(None, [f"data.records={tmp_path / 'records'}"]), scans(train, val, test)
    )


def said(manifest: Manifest) -> str:
    return "\n".join(split_warnings(manifest, "kseg prepare my.toml", "kseg train my.toml"))


def test_enough_subjects_are_nothing_to_tell_of(manifest: Callable[..., Manifest]) -> None:
    assert said(manifest(4, 2, 2)) == said(manifest(4, 2, 0)) == ""


@pytest.mark.parametrize(
    ("splits", "who", "folds"),
    [
        ((1, 1, 1), "one case validates and one case tests: scores of one subject say little of others", 2),
        ((6, 1, 2), "one case validates: ", 5),
        ((2, 2, 1), "one case tests: ", 4),
        ((2, 0, 2), "no case validates: ", 2),
    ],
)
def test_a_single_subject_is_told_of_with_folds(
    splits: tuple[int, int, int], who: str, folds: int, manifest: Callable[..., Manifest]
) -> None:
    found = manifest(*splits)
    assert said(found).startswith(who)
    assert said(found).endswith(f"kseg train my.toml --folds {folds}")
    assert len(validation_folds(found, folds, seed=1)) == folds


def test_cases_of_one_subject_are_one(manifest: Callable[..., Manifest]) -> None:
    found = manifest(3, 2, 0)
    same = tuple(case.model_copy(update={"subject": "anna"}) if case.split == "val" else case for case in found.cases)
    assert said(found.model_copy(update={"cases": same})).startswith("2 cases of one subject, who validates: ")


def test_a_class_that_only_validates_is_told_of(manifest: Callable[..., Manifest]) -> None:
    found = manifest(3, 2, 0)
    voxels = {"train": (900, 0), "val": (900, 1)}
    cases = tuple(case.model_copy(update={"class_voxels": voxels[case.split]}) for case in found.cases)
    lacking = said(found.model_copy(update={"cases": cases}))
    name = found.label_map.names[1]
    assert lacking.startswith(f"'{name}' is in cases that validate and in none to train on")
    assert lacking.endswith("kseg train my.toml --folds 5")


def test_one_subject_alone_cannot_be_trained_on(manifest: Callable[..., Manifest]) -> None:
    assert said(manifest(1, 0, 0)).startswith("there is one subject to learn from, and a training needs another")


def test_the_commands_that_are_named_give_every_subject_its_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare.main(["phantom.subjects=3", "phantom.shape=[16, 16, 16]"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "note: to score every subject" in line]
    again, _, train = line.partition("by a test: ")[2].partition(", then ")
    prepare.main(shlex.split(again)[3:])
    found = load_manifest(Path("tfrecords/phantom"))
    assert not found.of_split("test")
    assert train.startswith("python -m kseg.train phantom.subjects=3 ")
    assert "data.test_fraction=0 --folds 3" in train
    assert len(validation_folds(found, 3, seed=1)) == 3
