"""A report's table of how far measures of predictions agree with those of the truth."""

import math
from dataclasses import dataclass

from kseg.console.text import counted
from kseg.evaluation import intraclass_correlation as icc
from kseg.evaluation.measure_agreement import Agreement, MeasureAgreement, StructureAgreement
from kseg.pictures.bland_altman import LEAST_CASES

NAMES = {
    "volume_ml": "volume, ml",
    "length_mm": "length, mm",
    "largest_area_mm2": "largest area, mm²",
    "image_mean": "mean intensity",
}
"""What measures are called in it."""
DIGITS = 4
"""Of the mean of the truth; all else in its row has as many decimals."""
NONE = "-"


@dataclass(frozen=True)
class OfStructure:
    """Rows of a structure, a measure each, under the headings of the table; and of which cases they are."""

    name: str
    cases: str
    rows: list[list[str]]


@dataclass(frozen=True)
class AgreementTable:
    """What stands under the headings, structure by structure, and a note that explains it."""

    headings: list[str]
    structures: list[OfStructure]
    note: str


def agreement_table(found: MeasureAgreement | None, partly_labelled: int = 0) -> AgreementTable | None:
    """Return the table; None where no structure has two cases to compare, or an earlier version left none.

    Args:
        found: the agreement.
        partly_labelled: cases that were left out of it.
    """
    if found is None or max((one.compared for one in found.structures.values()), default=0) < 2:
        return None
    every = [agreement for one in found.structures.values() for agreement in one.measures.values()]
    with_icc = any(agreement.icc is not None for agreement in every)
    headings = ["measure", "n", "mean of truth", "bias ± SD", "limits of agreement"]
    return AgreementTable(
        headings=[*headings, "ICC [95 % CI]"] if with_icc else headings,
        structures=[
            OfStructure(
                name, _cases(one), [[NAMES[key], *_cells(value, with_icc)] for key, value in one.measures.items()]
            )
            for name, one in found.structures.items()
        ],
        note=_note(found, with_icc, partly_labelled),
    )


def _cases(found: StructureAgreement) -> str:
    others = {
        "missed in": found.missed,
        "in the prediction alone in": found.invented,
        "reaching the border of the scan in": found.at_border,
    }
    told = [f"{what} {number}" for what, number in others.items() if number]
    return "; ".join([counted(found.compared, "case"), *told])


def _cells(found: Agreement, with_icc: bool) -> list[str]:
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(found.truth_mean)))) if found.truth_mean else DIGITS
    bias = f"{found.bias:+.{decimals}f}"
    limits = NONE
    if found.limit_low is not None and found.limit_high is not None:
        limits = f"{found.limit_low:+.{decimals}f} to {found.limit_high:+.{decimals}f}"
    cells = [
        str(found.cases),
        f"{found.truth_mean:.{decimals}f}",
        bias if found.deviation is None else f"{bias} ± {found.deviation:.{decimals}f}",
        limits,
    ]
    return [*cells, _correlation(found)] if with_icc else cells


def _correlation(found: Agreement) -> str:
    if found.icc is None:
        return NONE
    known = found.icc_low is not None and found.icc_high is not None
    return f"{found.icc:.3f} [{found.icc_low:.3f}, {found.icc_high:.3f}]" if known else f"{found.icc:.3f}"


def _note(found: MeasureAgreement, with_icc: bool, partly_labelled: int) -> str:
    sentences = [
        "Over the cases in which truth and prediction both have a structure, along z, on each scan's own grid.",
        "Bias: mean of prediction minus truth; SD: standard deviation of these differences.",
        "Limits of agreement: bias ± 1.96 SD, between which 95 % of differences are expected if they are normal "
        f"(Bland and Altman 1986); they need {LEAST_CASES} cases.",
    ]
    if with_icc:
        sentences.append(
            "ICC: intraclass correlation ICC(A,1), two-way, single measurement, absolute agreement (McGraw and Wong "
            "1996), with its confidence interval; 1 where both are the same, lower where cases differ little from each "
            f"other; it needs {icc.LEAST_CASES} cases."
        )
    if found.lacks_pingouin:
        sentences.append(f"With pip install '{icc.EXTRA}' the intraclass correlation (ICC) stands here too.")
    if any(one.at_border for one in found.structures.values()):
        sentences.append("What reaches the border of the scan may be cut off, in truth and prediction alike.")
    intensities = [one.measures["image_mean"] for one in found.structures.values() if "image_mean" in one.measures]
    if intensities:
        sentences.append("Intensities are in each scan's own numbers.")
    if sum(one.cases for one in intensities) < sum(one.compared for one in found.structures.values()):
        sentences.append("Intensities are left out of cases that were resampled.")
    if partly_labelled:
        sentences.append(f"Left out: {counted(partly_labelled, 'case')} labelled in part.")
    return " ".join(sentences)
