"""Bias, limits of agreement and intraclass correlation of measures: published data, and numbers worked by hand."""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from kseg.evaluation.intraclass_correlation import Icc, intraclass_correlation
from kseg.evaluation.measure_agreement import Agreement, MeasureAgreement, measure_agreement

MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
"""Peak expiratory flow of 17 people by two meters, in l/min: the data of Bland and Altman, Lancet 1986."""


@pytest.fixture
def _with_pingouin() -> None:
    pytest.importorskip("pingouin", reason="needs kseg[statistics]")


@pytest.fixture
def _without_pingouin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pingouin", None)


def rows(truth: Sequence[float | None], prediction: Sequence[float | None], **others: Any) -> list[dict[str, Any]]:
    """Rows of "soleus", whose volumes are given, and None where it is nowhere."""
    return [
        {"case": f"leg_{number}", "class_name": "soleus", "source": source, "touches_border": False}
        | {"volume_ml": volume_ml or 0.0, "pieces": int(volume_ml is not None)}
        | others
        for number, volumes_ml in enumerate(zip(truth, prediction, strict=True))
        for source, volume_ml in zip(("truth", "prediction"), volumes_ml, strict=True)
    ]


def volumes(found: MeasureAgreement) -> Agreement:
    return found.structures["soleus"].measures["volume_ml"]


def mean_squares(pairs: Sequence[tuple[float, float]]) -> float:
    """ICC(A,1) of two raters by its mean squares, McGraw and Wong 1996, table 4."""
    values = np.array(pairs, float)
    n, k = values.shape
    of_cases, of_raters = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - of_cases - of_raters + values.mean()
    rows_ms = k * ((of_cases - values.mean()) ** 2).sum() / (n - 1)
    columns_ms = n * ((of_raters - values.mean()) ** 2).sum() / (k - 1)
    error_ms = (residuals**2).sum() / ((n - 1) * (k - 1))
    return (rows_ms - error_ms) / (rows_ms + (k - 1) * error_ms + k * (columns_ms - error_ms) / n)


@pytest.mark.usefixtures("_without_pingouin")
def test_bias_and_limits_of_published_data_also_without_pingouin() -> None:
    agreement = measure_agreement(rows(MINI, WRIGHT))
    found = volumes(agreement)
    assert (found.cases, round(found.bias, 1), round(found.deviation or 0, 1)) == (17, -2.1, 38.8)
    assert found.truth_mean == pytest.approx(np.mean(MINI))
    differences = np.subtract(WRIGHT, MINI)
    spread = 1.96 * differences.std(ddof=1)
    assert (found.limit_low, found.limit_high) == pytest.approx(
        (differences.mean() - spread, differences.mean() + spread)
    )
    assert (found.icc, found.icc_low, found.icc_high) == (None, None, None)
    assert agreement.lacks_pingouin
    assert not measure_agreement(rows(MINI[:4], WRIGHT[:4])).lacks_pingouin  # too few for it in any case


@pytest.mark.usefixtures("_with_pingouin")
def test_the_correlation_is_that_of_the_mean_squares() -> None:
    agreement = measure_agreement(rows(MINI, WRIGHT))
    found = volumes(agreement)
    assert not agreement.lacks_pingouin
    assert found.icc == pytest.approx(mean_squares(list(zip(MINI, WRIGHT, strict=True))), abs=1e-12)
    assert found.icc_low < found.icc < found.icc_high
    assert found.icc_low != round(found.icc_low, 2)


@pytest.mark.usefixtures("_with_pingouin")
def test_a_correlation_by_hand() -> None:
    """The six targets and first two judges of Shrout and Fleiss, Psychological Bulletin 1979.

    Means of targets 5.5, 3.5, 6, 4, 7.5 and 4, differences of judges 7, 5, 4, 6, 5 and 4: mean squares of 281 / 60 for
    targets, 961 / 12 for judges, 41 / 60 for the rest.
    """
    pairs = [(9, 2), (6, 1), (8, 4), (7, 1), (10, 5), (6, 2)]
    found = intraclass_correlation(pairs)
    of_targets, of_judges, rest = 281 / 60, 961 / 12, 41 / 60
    expected = (of_targets - rest) / (of_targets + rest + 2 * (of_judges - rest) / 6)
    assert expected == pytest.approx(24 / 191)
    assert (found.value, mean_squares(pairs)) == pytest.approx((expected, expected))


@pytest.mark.usefixtures("_with_pingouin")
def test_what_is_no_number_is_none_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # pandas', of pingouin's calls; Python shows none of them
        assert intraclass_correlation([(1, 2), (3, 4), (5, 5), (7, 8)]) is None  # too few
        assert intraclass_correlation([(3.0, 3.0)] * 6) is None  # no variance
        assert intraclass_correlation([(n, n) for n in range(1, 7)]) == Icc(1.0, None, None)
        found = intraclass_correlation([(3.0, 4.0)] * 6)  # no variance but that between the two
        assert found is None or found.value == pytest.approx(0)


@pytest.mark.usefixtures("_without_pingouin")
@pytest.mark.parametrize(("cases", "deviation", "limits"), [(1, False, False), (9, True, False), (10, True, True)])
def test_few_cases_have_no_limits(cases: int, deviation: bool, limits: bool) -> None:
    found = volumes(measure_agreement(rows(MINI[:cases], WRIGHT[:cases])))
    assert found.cases == cases
    assert found.bias == pytest.approx(np.subtract(WRIGHT, MINI)[:cases].mean())
    differences = np.subtract(WRIGHT, MINI)[:cases]
    spread = differences.std(ddof=1) if deviation else None
    assert found.deviation == (pytest.approx(spread) if deviation else None)
    ends = [pytest.approx(found.bias + sign * 1.96 * spread) if limits else None for sign in (-1, 1)]
    assert [found.limit_low, found.limit_high] == ends


@pytest.mark.usefixtures("_without_pingouin")
def test_what_one_of_the_two_lacks_is_counted_and_not_compared() -> None:
    agreement = measure_agreement(
        [
            *rows((10.0, 20.0, 5.0, None, None), (12.0, 26.0, None, 7.0, None), image_mean=None),
            *({**row, "case": "cut", "touches_border": row["source"] == "truth"} for row in rows((30.0,), (31.0,))),
        ]
    )
    found = agreement.structures["soleus"]
    assert (found.compared, found.missed, found.invented, found.at_border) == (3, 1, 1, 1)
    assert found.measures == {"volume_ml": volumes(agreement)}  # of other measures there is nothing in these rows
    assert (volumes(agreement).bias, volumes(agreement).truth_mean) == pytest.approx((3.0, 20.0))


@pytest.mark.usefixtures("_without_pingouin")
def test_agreement_comes_back_from_json() -> None:
    agreement = measure_agreement(rows(MINI, WRIGHT))
    text = json.dumps(asdict(agreement), allow_nan=False)
    assert MeasureAgreement.from_json(json.loads(text)) == agreement
    assert measure_agreement([]) == MeasureAgreement({})
