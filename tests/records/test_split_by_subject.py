"""Splits: by subject, from names and seed alone."""

import itertools
from collections import Counter

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.records.scans import Scan
from kseg.records.split_by_subject import split_by_subject


def scan(subject: str, split: str = "", case: str = "") -> Scan:
    def never() -> None:
        raise AssertionError("splitting loads no scan")

    return Scan(case or subject, subject, split, never, never)


def subjects(count: int) -> list[Scan]:
    return [scan(f"s{number}") for number in range(count)]


def test_whatever_the_cases_each_subject_has_one_split_and_the_shares_are_as_asked() -> None:
    rng = np.random.default_rng(0)
    for trial in range(200):
        count = int(rng.integers(5, 60))
        names = [f"subject-{number}" for number in rng.permutation(1000)[:count]]
        scans = [scan(name, case=f"{name}-{visit}") for name in names for visit in range(int(rng.integers(1, 4)))]
        val, test = rng.uniform(0.01, 0.4, 2)
        splits = split_by_subject(scans, val, test, trial)
        assert set(splits) == set(names)
        counts = Counter(splits.values())
        assert counts["val"] == max(1, round(val * count))
        assert counts["test"] == max(1, round(test * count))
        assert counts["train"] == count - counts["val"] - counts["test"]
        shuffled = [scans[index] for index in rng.permutation(len(scans))]
        assert split_by_subject(shuffled, val, test, trial) == splits


def test_the_draw_is_one_of_all_processes_and_versions() -> None:
    # Sorted by `printf 1/a | sha256sum` and so on (509e..., 9d57..., bf1d..., daa2..., dffe...): d, e, a, b, c.
    assert split_by_subject([scan(name) for name in "abcde"], 0.2, 0.2, seed=1) == {
        "d": "test",
        "e": "val",
        "a": "train",
        "b": "train",
        "c": "train",
    }


def test_seeds_draw_differently_and_every_subject_is_tested_sometime() -> None:
    drawn = [split_by_subject(subjects(8), 0.2, 0.2, seed) for seed in range(60)]
    assert {name for splits in drawn for name, split in splits.items() if split == "test"} == {
        scan.subject for scan in subjects(8)
    }
    assert any(one != other for one, other in itertools.pairwise(drawn))


def test_named_splits_are_kept_and_get_no_company() -> None:
    named = [scan("t1", "test"), scan("t2", "test"), scan("v", "val")]
    splits = split_by_subject([*named, *subjects(10)], 0.3, 0.3, 0)
    assert {name for name, split in splits.items() if split == "test"} == {"t1", "t2"}
    assert {name for name, split in splits.items() if split == "val"} == {"v"}


def test_where_the_source_names_the_tests_only_validation_is_still_drawn() -> None:
    splits = split_by_subject([scan("t", "test"), *subjects(10)], 0.2, 0.2, 0)
    assert Counter(splits.values()) == {"test": 1, "val": 2, "train": 8}
    assert splits["t"] == "test"


def test_a_subject_whose_visit_has_a_split_brings_its_other_visits() -> None:
    splits = split_by_subject([scan("a", "test", "a1"), scan("a", "", "a2"), *subjects(4)], 0.2, 0.2, 0)
    assert splits["a"] == "test"


def test_a_fraction_of_0_leaves_its_split_empty() -> None:
    assert set(split_by_subject(subjects(6), 0, 0, 0).values()) == {"train"}
    assert Counter(split_by_subject(subjects(6), 0.2, 0, 0).values()) == {"val": 1, "train": 5}


@pytest.mark.parametrize("scans", [[], subjects(1), subjects(2), [scan("v", "val"), scan("t", "test")]])
def test_nobody_left_to_train_on_is_the_users_to_fix(scans: list[Scan]) -> None:
    with pytest.raises(InputError, match=r"no subject is left for training.*val_fraction"):
        split_by_subject(scans, 0.15, 0.15, 0)
