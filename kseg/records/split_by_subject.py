"""Who trains, who validates, who tests: decided by subject, so that no subject is ever on two sides."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from kseg.console.command_names import command_line
from kseg.console.errors import InputError

NEEDS_ANOTHER = "and a training needs another to choose its best model by"
ONE_TO_LEARN_FROM = f"one subject to learn from, {NEEDS_ANOTHER}: add scans of other subjects"
"""What a dataset has that cannot be trained on."""


class OfSubject(Protocol):
    """A scan or a case, as far as its split is concerned."""

    @property
    def subject(self) -> str:
        """Whose it is."""

    @property
    def split(self) -> str:
        """The split that the source names; empty where it names none."""


def split_by_subject(
    scans: Sequence[OfSubject],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    settled: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the split of every subject: the one its scans name, else one drawn from `seed` and the subject's name.

    Validation or test subjects that the source names get no others beside them. Else a split with a fraction above 0
    gets at least one subject; who is not drawn trains. The draw ranks subjects by a hash of seed and name, so that
    neither their order nor the process matters.

    Subjects who had a split before, `settled`, stay in it unless their scans name another: of those who are new so many
    are drawn as their splits lack.

    Raises:
        InputError: too few subjects to leave one for training.
    """
    splits = {scan.subject: scan.split for scan in scans if scan.split}
    named = set(splits.values())
    undecided = sorted({scan.subject for scan in scans} - set(splits), key=lambda subject: rank(subject, seed))
    stay = {subject: settled[subject] for subject in undecided if subject in settled}
    drawn = iter([subject for subject in undecided if subject not in stay])
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if fraction > 0 and split not in named and undecided:
            wanted = max(1, round(fraction * len(undecided)))
            for _ in range(wanted - list(stay.values()).count(split)):
                splits[next(drawn, "")] = split
    splits |= stay | dict.fromkeys(drawn, "train")
    splits.pop("", None)
    if "train" not in splits.values():
        raise InputError(f"no subject is left for training: {_remedy(len(splits))}")
    return splits


def _remedy(subjects: int) -> str:
    """What can be done with so few subjects."""
    if subjects == 1:
        return (
            f"there is one, {NEEDS_ANOTHER}. Add scans of other subjects; or, to try kseg, cut the scan in two, list "
            "the halves as two subjects, and set data.test_fraction=0 (data.val_fraction as it is): such scores say "
            "nothing of other people"
        )
    if subjects == 2:
        return (
            f"there are two, one to validate and one to test. Add subjects, or prepare with data.test_fraction=0 and "
            f"data.val_fraction as it is, and train on folds, where each of them validates once: "
            f"{command_line('train')} ... --folds 2"
        )
    return (
        f"there are {subjects} in all. Add subjects, or set data.val_fraction and data.test_fraction lower (0 leaves a "
        "split empty)"
    )


def rank(subject: str, seed: int) -> bytes:
    """Return what subjects are ordered by when a draw among them is made: their order and number play no part."""
    return hashlib.sha256(f"{seed}/{subject}".encode()).digest()
