"""Folds: every subject validates once, none is on two sides, and nothing but seed and names decides."""

from collections import Counter
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.folds import subjects_of_folds, validation_folds
from kseg.records.manifest import Manifest
from kseg.records.prepared_case import read_cases
from kseg.records.scans import find_scans
from kseg.records.write import write_dataset

SUBJECTS = [f"subject_{number}" for number in range(23)]


@pytest.mark.parametrize("folds", [2, 5, 23])
def test_everyone_is_once_in_folds_of_equal_size(folds: int) -> None:
    hands = subjects_of_folds(SUBJECTS * 2, folds, seed=1)
    assert len(hands) == folds
    assert sorted(subject for hand in hands for subject in hand) == sorted(SUBJECTS)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1


def test_order_plays_no_part_and_the_seed_does() -> None:
    assert subjects_of_folds(reversed(SUBJECTS), 5, seed=1) == subjects_of_folds(SUBJECTS, 5, seed=1)
    assert subjects_of_folds(SUBJECTS, 5, seed=2) != subjects_of_folds(SUBJECTS, 5, seed=1)


@pytest.mark.parametrize("folds", [-1, 0, 1, 24])
def test_an_impossible_number_is_refused(folds: int) -> None:
    with pytest.raises(InputError, match=f"--folds {folds}: choose from 2 to 23"):
        subjects_of_folds(SUBJECTS, folds, seed=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """7 subjects to train on, 2 to validate, 2 to test."""
    folder = tmp_path_factory.mktemp("folds") / "records"
    recipe = load_recipe(None, ["phantom.subjects=11", "phantom.shape=[16, 16, 16]", f"data.records={folder}"])
    return folder, write_dataset(recipe, find_scans(recipe))


def test_no_subject_is_on_two_sides_and_everyone_validates_once(dataset: tuple[Path, Manifest]) -> None:
    manifest = dataset[1]
    test = {case.subject for case in manifest.of_split("test")}
    validated: Counter[str] = Counter()
    for subjects in validation_folds(manifest, 3, seed=1):
        view = manifest.with_validation(subjects)
        sides = [{case.subject for case in view.of_split(split)} for split in ("train", "val", "test")]
        assert len(set.union(*sides)) == sum(map(len, sides)) == 11
        assert sides[2] == test
        validated.update(sides[1])
    assert validated == Counter({case.subject for case in manifest.cases} - test)


def test_a_folds_cases_are_read_from_where_they_are(dataset: tuple[Path, Manifest]) -> None:
    folder, manifest = dataset
    for subjects in validation_folds(manifest, 3, seed=1):
        view = manifest.with_validation(subjects)
        for split in ("train", "val", "test"):
            found = [case.case for case in read_cases(folder, view, split)]
            assert found == [case.case for case in view.of_split(split)]
        assert {case.subject for case in read_cases(folder, view, "val")} == set(subjects)
