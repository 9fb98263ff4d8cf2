"""How far the measures of predictions agree with those of the truth, by what laboratories publish of that.

Bias and limits of agreement (Bland and Altman, Lancet 1986) are in the unit of the measure, the intraclass correlation
is without one (`kseg.evaluation.intraclass_correlation`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kseg.evaluation import intraclass_correlation as icc
from kseg.evaluation.case_measures import PREDICTION, SOURCE, TRUTH
from kseg.pictures.bland_altman import LEAST_CASES, limits_of_agreement

MEASURES = ("volume_ml", "length_mm", "largest_area_mm2", "image_mean")
"""The columns that are compared."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Agreement:
    """Of one measure of one structure, in the measure's unit; None where there are too few cases to tell."""

    cases: int
    truth_mean: float
    bias: float
    """Mean of prediction minus truth."""
    deviation: float | None = None
    """Standard deviation of the differences, of the sample (n - 1); of two cases or more."""
    limit_low: float | None = None
    limit_high: float | None = None
    """Limits of agreement, `bias +- 1.96 deviation`; of `LEAST_CASES` or more."""
    icc: float | None = None
    icc_low: float | None = None
    icc_high: float | None = None
    """ICC(A,1) and its 95 % interval."""


@dataclass(frozen=True)
class StructureAgreement:
    """Of one structure, over the cases in which truth and prediction both have it; the others are counted alone."""

    compared: int
    missed: int
    """Cases in which the truth alone has it."""
    invented: int
    """Cases in which the prediction alone has it."""
    at_border: int
    """Of those compared, cases in which either reaches the border of the scan and may be cut off."""
    measures: dict[str, Agreement]
    """By column; one that no case has in both has no entry."""


@dataclass(frozen=True)
class MeasureAgreement:
    """Of every structure of a test set."""

    structures: dict[str, StructureAgreement]
    lacks_pingouin: bool = False
    """Whether there were cases enough for a correlation, and pingouin was not there to compute it."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "MeasureAgreement":
        """Inverse of `dataclasses.asdict`.

        Raises:
            TypeError, LookupError, AttributeError: it is something else.
        """
        structures = {
            name: StructureAgreement(
                **{**of_one, "measures": {key: Agreement(**values) for key, values in of_one["measures"].items()}}
            )
            for name, of_one in found["structures"].items()
        }
        return cls(structures, found["lacks_pingouin"])


def measure_agreement(rows: Iterable[Row]) -> MeasureAgreement:
    """Compare the measures of predictions with those of the truth.

    Args:
        rows: of all cases, as `kseg.evaluation.case_measures.case_measures` returns them.

    Example:
        >>> from kseg.evaluation.measure_agreement import measure_agreement
        >>> whole = {"class_name": "soleus", "pieces": 1, "touches_border": False}
        >>> found = measure_agreement(
        ...     {**whole, "case": case, "source": source, "volume_ml": volume_ml}
        ...     for case, volumes_ml in {"a": (10.0, 11.0), "b": (20.0, 23.0)}.items()
        ...     for source, volume_ml in zip(("truth", "prediction"), volumes_ml)
        ... )
        >>> found.structures["soleus"].measures["volume_ml"].bias
        2.0
    """
    by_structure: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        by_structure.setdefault(row["class_name"], {}).setdefault(row["case"], {})[row[SOURCE]] = row
    pairs = {
        name: [(of_case[TRUTH], of_case[PREDICTION]) for of_case in cases.values()]
        for name, cases in by_structure.items()
    }
    enough = any(len(_in_both(of_one)) >= icc.LEAST_CASES for of_one in pairs.values())
    available = enough and icc.is_available()
    return MeasureAgreement(
        {name: _of_structure(of_one, available) for name, of_one in pairs.items()}, enough and not available
    )


def _in_both(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[Row, Row]]:
    return [(truth, prediction) for truth, prediction in pairs if truth["pieces"] and prediction["pieces"]]


def _of_structure(pairs: Sequence[tuple[Row, Row]], with_icc: bool) -> StructureAgreement:
    both = _in_both(pairs)
    measures = {}
    for measure in MEASURES:
        values = [(truth.get(measure), prediction.get(measure)) for truth, prediction in both]
        if known := [(truth, found) for truth, found in values if truth is not None and found is not None]:
            measures[measure] = _of_measure(known, with_icc)
    return StructureAgreement(
        compared=len(both),
        missed=sum(bool(truth["pieces"]) and not prediction["pieces"] for truth, prediction in pairs),
        invented=sum(bool(prediction["pieces"]) and not truth["pieces"] for truth, prediction in pairs),
        at_border=sum(bool(truth["touches_border"] or prediction["touches_border"]) for truth, prediction in both),
        measures=measures,
    )


def _of_measure(pairs: Sequence[tuple[float, float]], with_icc: bool) -> Agreement:
    mean = fmean(truth for truth, _ in pairs)
    if len(pairs) < 2:
        return Agreement(len(pairs), mean, fmean(prediction - truth for truth, prediction in pairs))
    found = limits_of_agreement(pairs)
    low, high = (found.low, found.high) if len(pairs) >= LEAST_CASES else (None, None)
    correlation = icc.intraclass_correlation(pairs) if with_icc else None
    return Agreement(len(pairs), mean, found.bias, found.deviation, low, high, *(correlation or ()))
