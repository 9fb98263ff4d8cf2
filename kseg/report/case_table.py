"""A report's table of cases: a row for each, which a reader sorts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from kseg.evaluation.scores import ClassScore

MEASURES = {
    "dice": ("mean Dice", ".3f"),
    "expected_dice": ("expected Dice", ".2f"),
    "hd95_mm": ("HD95 mm", ".2f"),
    "absolute_volume_error_percent": ("absolute volume error %", ".1f"),
}
"""Means over the classes of a case: heading and form."""
MOST_CLASSES = 8
"""With more, none has a column of its own."""


@dataclass(frozen=True)
class CaseTable:
    """A row for each case: the headings, the first that of the case, and what stands under them."""

    headings: list[str]
    rows: list[list[str]]
    """The worst mean Dice first."""


def case_table(scores: Mapping[str, Sequence[ClassScore]]) -> CaseTable:
    """Return a row for each case, in the same order: means over its classes, and the Dice of each class.

    A measure that no case has gets no column, and classes have none where there are more than `MOST_CLASSES`.
    """
    names = list(dict.fromkeys(score.class_name for of_case in scores.values() for score in of_case))
    named = names if 1 < len(names) <= MOST_CLASSES else []
    measures = [measure for measure in MEASURES if any(values_of(of_case, measure) for of_case in scores.values())]
    rows = []
    for case, of_case in scores.items():
        cells = [_cell(values_of(of_case, measure), MEASURES[measure][1]) for measure in measures]
        for name in named:
            own = [score for score in of_case if score.class_name == name]
            cells.append(_cell(values_of(own, "dice"), MEASURES["dice"][1]))
        rows.append([case, *cells])
    means = [MEASURES[measure][0] for measure in measures]
    return CaseTable(["case", *means, *(f"Dice {name}" for name in named)], rows)


def values_of(scores: Sequence[ClassScore], measure: str) -> list[float]:
    """Return the values of a measure, of those scores that have one."""
    return [value for score in scores if (value := getattr(score, measure)) is not None]


def _cell(values: Sequence[float], form: str) -> str:
    return format(fmean(values), form) if values else "-"
