"""Cross-validation: subjects distributed over folds, so that each of them validates once."""

from collections.abc import Iterable

from kseg.console.errors import InputError
from kseg.records.manifest import Manifest
from kseg.records.split_by_subject import rank


def subjects_of_folds(subjects: Iterable[str], folds: int, seed: int) -> list[list[str]]:
    """Distribute subjects over folds whose sizes differ by one at most; which is where follows from seed and name.

    Raises:
        InputError: fewer than two folds, or than one subject for each.
    """
    ordered = sorted(set(subjects), key=lambda subject: rank(subject, seed))
    if not 2 <= folds <= len(ordered):
        raise InputError(
            f"--folds {folds}: choose from 2 to {len(ordered)}, the number of subjects that are not to test"
        )
    return [sorted(ordered[first::folds]) for first in range(folds)]


def validation_folds(manifest: Manifest, folds: int, seed: int) -> list[list[str]]:
    """Return the subjects on whom each fold validates: all of the dataset's but those to test on."""
    return subjects_of_folds((case.subject for case in manifest.to_learn_from), folds, seed)
