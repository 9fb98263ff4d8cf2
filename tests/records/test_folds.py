"""Folds: every subject validates once, none is on two sides, and nothing but seed and names decides."""

from collections import Counter
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.folds import deal_folds, validation_folds
from kseg.records.manifest import Manifest
from kseg.records.read import read_records
from kseg.records.scans import find_scans
from kseg.records.write import write_dataset

SUBJECTS = [f"subject_{number}" for number in range(23)]


@pytest.mark.parametrize("folds", [2, 5, 23])
def test_everyone_is_dealt_once_in_hands_of_equal_size(folds: int) -> None:
    hands = deal_folds(SUBJECTS * 2, folds, seed=1)
    assert len(hands) == folds
    assert sorted(subject for hand in hands for subject in hand) == sorted(SUBJECTS)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1


def test_order_plays_no_part_and_the_seed_does() -> None:
    assert deal_folds(reversed(SUBJECTS), 5, seed=1) == deal_folds(SUBJECTS, 5, seed=1)
    assert deal_folds(SUBJECTS, 5, seed=2) != deal_folds(SUBJECTS, 5, seed=1)


@pytest.mark.parametrize("folds", [-1, 0, 1, 24])
def test_an_impossible_number_is_refused(folds: int) -> None:
    with pytest.raises(InputError, match=f"--folds {folds}: choose from 2 to 23"):
        deal_folds(SUBJECTS, folds, seed=1)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Manifest]]:
    """One dataset, prepared in one shard a split and in three: 7 subjects to train on, 2 to validate, 2 to test."""
    prepared = []
    for shards in (1, 3):
        folder = tmp_path_factory.mktemp("folds") / "records"
        options = [
            "phantom.subjects=11",
            "phantom.shape=[16, 16, 16]",
            f"data.shards={shards}",
            f"data.records={folder}",
        ]
        recipe = load_recipe(None, options)
        prepared.append((folder, write_dataset(recipe, find_scans(recipe))))
    return prepared


def test_no_subject_is_on_two_sides_and_everyone_validates_once(datasets: list[tuple[Path, Manifest]]) -> None:
    for _, manifest in datasets:
        test = {case.subject for case in manifest.of_split("test")}
        validated: Counter[str] = Counter()
        for subjects in validation_folds(manifest, 3, seed=1):
            view = manifest.with_validation(subjects)
            sides = [{case.subject for case in view.of_split(split)} for split in ("train", "val", "test")]
            assert len(set.union(*sides)) == sum(map(len, sides)) == 11
            assert sides[2] == test
            validated.update(sides[1])
        assert validated == Counter({case.subject for case in manifest.cases} - test)


def test_folds_do_not_depend_on_the_shards(datasets: list[tuple[Path, Manifest]]) -> None:
    (_, one), (_, three) = datasets
    assert validation_folds(one, 4, seed=5) == validation_folds(three, 4, seed=5)


def test_a_folds_records_are_read_from_where_they_are(datasets: list[tuple[Path, Manifest]]) -> None:
    for folder, manifest in datasets:
        for subjects in validation_folds(manifest, 3, seed=1):
            view = manifest.with_validation(subjects)
            for split in ("train", "val", "test"):
                found = [record.case for record in read_records(folder, view, split)]
                assert found == [case.case for case in view.of_split(split)]
            assert {record.subject for record in read_records(folder, view, "val")} == set(subjects)
