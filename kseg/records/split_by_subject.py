"""Who trains, who validates, who tests: decided by subject, so that no subject is ever on two sides."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from kseg.console.errors import InputError


class OfSubject(Protocol):
    """A scan or a case, as far as its split is concerned."""

    @property
    def subject(self) -> str:
        """Whose it is."""

    @property
    def split(self) -> str:
        """The split that the source names; empty where it names none."""


def split_by_subject(
    scans: Sequence[OfSubject], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """Return the split of every subject: the one its scans name, else one drawn from `seed` and the subject's name.

    Validation or test subjects that the source names get no others beside them. Else a split with a fraction above 0
    gets at least one subject; who is not drawn trains. The draw ranks subjects by a hash of seed and name, so that
    neither their order nor the process matters.

    Raises:
        InputError: too few subjects to leave one for training.
    """
    splits = {scan.subject: scan.split for scan in scans if scan.split}
    named = set(splits.values())
    undecided = sorted({scan.subject for scan in scans} - set(splits), key=lambda subject: rank(subject, seed))
    drawn = iter(undecided)
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction > 0 and split not in named and undecided:
            for _ in range(max(1, round(fraction * len(undecided)))):
                splits[next(drawn, "")] = split
    splits |= dict.fromkeys(drawn, "train")
    splits.pop("", None)
    if "train" not in splits.values():
        raise InputError(
            f"no subject is left for training: there are {len(splits)} in all. Add subjects, or set "
            "data.val_fraction and data.test_fraction lower (0 leaves a split empty)"
        )
    return splits


def rank(subject: str, seed: int) -> bytes:
    """Return what subjects are ordered by when a draw among them is made: their order and number play no part."""
    return hashlib.sha256(f"{seed}/{subject}".encode()).digest()
