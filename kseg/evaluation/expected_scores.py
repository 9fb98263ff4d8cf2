"""The Dice that was expected of masks beside the true one: whether the least trusted masks are the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scipy import stats

from kseg.console.text import counted
from kseg.evaluation.scores import ClassScore
from kseg.inference.expected_dice import ExpectedDice

WORST = 5
LEAST_CASES = 3
"""Of which a rank correlation is a number."""


@dataclass(frozen=True)
class ExpectedAndTrue:
    """How expected and true mean Dice of cases go together."""

    cases: int
    rank_correlation: float | None
    """Spearman's; None where all are alike."""
    worst: int
    """How many of the worst cases are looked at: a fourth of them, at most `WORST`."""
    worst_found: int | None
    """How many of these are among as many least trusted; None where all are trusted alike."""
    within: int
    """Of `scored` masks of a class, how many have a Dice within the interval."""
    scored: int
    unexpected: int
    """Masks of a class with a Dice of which nothing was expected: they are left out."""

    def __str__(self) -> str:
        """Say it in a line."""
        found = "-" if self.worst_found is None else self.worst_found
        correlation = "-" if self.rank_correlation is None else f"{self.rank_correlation:.2f}"
        return (
            f"expected Dice: rank correlation with the true one {correlation} over {counted(self.cases, 'case')}; of "
            f"the {self.worst} worst {found} among the {self.worst} least trusted; {self.within} of "
            f"{self.scored} masks within their interval"
            + (f"; nothing was expected of {self.unexpected} more" if self.unexpected else "")
        )


def with_expected(
    scores: Sequence[ClassScore], agreement: Sequence[float | None], expected: ExpectedDice | None
) -> list[ClassScore]:
    """Return a case's scores with its agreement, by class, and what that makes one expect.

    Args:
        scores: of the case.
        agreement: of each class, where the mask has it (`kseg.inference.uncertainty.agreement_of_mask`).
        expected: what validation cases say; None where nothing is known.
    """
    expectations = expected.expectations(agreement) if expected else {}
    joined = []
    for score, value in zip(scores, agreement, strict=True):
        known = replace(score, agreement=value)
        if found := expectations.get(score.class_name):
            known = replace(known, expected_dice=found.dice, expected_dice_low=found.low, expected_dice_high=found.high)
        joined.append(known)
    return joined


def expected_and_true(scores_by_case: Mapping[str, Sequence[ClassScore]]) -> ExpectedAndTrue | None:
    """Compare the mean expected Dice of each case with its mean Dice; None where too few cases have both.

    Both are means over the classes that have both.
    """
    pairs, unexpected = [], 0
    for scores in scores_by_case.values():
        scored = [score for score in scores if score.dice is not None]
        both = [(score.expected_dice, score.dice) for score in scored if score.expected_dice is not None]
        unexpected += len(scored) - len(both)
        if both:
            pairs.append((fmean(expected for expected, _ in both), fmean(dice for _, dice in both if dice is not None)))
    if len(pairs) < LEAST_CASES:
        return None
    varied = all(len({pair[side] for pair in pairs}) > 1 for side in (0, 1))
    correlation = float(stats.spearmanr(pairs).statistic) if varied else None
    worst = max(1, min(WORST, len(pairs) // 4))
    lowest = [set(sorted(range(len(pairs)), key=lambda n: pairs[n][side])[:worst]) for side in (0, 1)]
    intervals = [
        (score.expected_dice_low, score.dice, score.expected_dice_high)
        for scores in scores_by_case.values()
        for score in scores
        if score.expected_dice is not None and score.dice is not None
    ]
    within = sum((low or 0.0) <= dice <= (high or 0.0) for low, dice, high in intervals)
    found = len(lowest[0] & lowest[1]) if varied else None
    return ExpectedAndTrue(len(pairs), correlation, worst, found, within, len(intervals), unexpected)
