"""Sentences on a split that is too small to learn from or to be judged by, each with the commands that help."""

import numpy as np

from kseg.records.manifest import Manifest
from kseg.records.split_by_subject import ONE_TO_LEARN_FROM

MANY_FOLDS = 5


def split_warnings(manifest: Manifest, prepare: str, train: str) -> list[str]:
    """Return what is to be said of a dataset whose validation or test cases are of one subject, or that has none.

    Of a class that the cases to train on lack and those to validate on have, too.

    Args:
        manifest: of the dataset.
        prepare: the command that has prepared it.
        train: the command that trains on it.
    """
    subjects = {split: {case.subject for case in manifest.of_split(split)} for split in ("train", "val", "test")}
    to_learn_from = len(subjects["train"] | subjects["val"])
    if to_learn_from == 1:
        return [f"there is {ONE_TO_LEARN_FROM}"]
    folds = f"{train} --folds {min(MANY_FOLDS, to_learn_from)}"
    if not subjects["val"]:
        return [f"no case validates: train on folds, where each subject validates once: {folds}"]
    unlearned = [
        f"'{name}' is in cases that validate and in none to train on, so that no network learns it: give `split` to "
        f"the source's subjects, or train on folds: {folds}"
        for name in _classes_to_validate_alone(manifest)
    ]
    alone = [
        f"{_cases(len(manifest.of_split(split)))} {what}"
        for split, what in (("val", "validates"), ("test", "tests"))
        if len(subjects[split]) == 1
    ]
    if not alone:
        return unlearned
    said = [
        *unlearned,
        f"{' and '.join(alone)}: scores of one subject say little of others; train on folds, where each subject "
        f"validates once: {folds}",
    ]
    if len(subjects["test"]) == 1 and manifest.test_fraction:
        everyone = min(MANY_FOLDS, to_learn_from + 1)
        said.append(
            f"to score every subject in its fold instead of one by a test: {prepare} data.test_fraction=0 --force, "
            f"then {train} data.test_fraction=0 --folds {everyone}, and evaluate --split val"
        )
    return said


def _classes_to_validate_alone(manifest: Manifest) -> list[str]:
    trained, validated = (
        np.sum([case.class_voxels for case in manifest.of_split(split)], axis=0) for split in ("train", "val")
    )
    return [manifest.label_map.names[index] for index in np.flatnonzero((trained == 0) & (validated > 0))]


def _cases(number: int) -> str:
    return "one case" if number == 1 else f"{number} cases of one subject, who"
