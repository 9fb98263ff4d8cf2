"""Cross-validation: subjects dealt into folds, so that each of them validates once."""

from collections.abc import Iterable

from kseg.console.errors import InputError
from kseg.records.manifest import Manifest
from kseg.records.split_by_subject import rank


def deal_folds(subjects: Iterable[str], folds: int, seed: int) -> list[list[str]]:
    """Deal subjects into `folds` hands whose sizes differ by one at most; who gets which follows from seed and name.

    Raises:
        InputError: fewer than two folds, or than one subject for each.
    """
    deck = sorted(set(subjects), key=lambda subject: rank(subject, seed))
    if not 2 <= folds <= len(deck):
        raise InputError(f"--folds {folds}: choose from 2 to {len(deck)}, the number of subjects that are not to test")
    return [sorted(deck[first::folds]) for first in range(folds)]


def validation_folds(manifest: Manifest, folds: int, seed: int) -> list[list[str]]:
    """Return the subjects on whom each fold validates: all of the dataset's but those to test on."""
    return deal_folds((case.subject for case in manifest.cases if case.split != "test"), folds, seed)
