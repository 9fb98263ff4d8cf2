"""Which masks to trust: their order, and what is said of one."""

import numpy as np
import pytest

from kseg.inference.expected_dice import Expectation
from kseg.inference.predictor import Segmentation
from kseg.inference.trust import doubts, expected_words, ranked, trust_of, trust_table

MASK = np.zeros((1, 1, 1), np.uint8)


def found(agreement: dict[str, float | None], **expected: float) -> Segmentation:
    return Segmentation(
        MASK, agreement, {name: Expectation(d, d - 0.1, d + 0.1, doubtful=d < 0.6) for name, d in expected.items()}
    )


MASKS = {
    "good": found({"a": 0.9, "b": 0.9}, a=0.9, b=0.8),
    "bad": found({"a": 0.95, "b": 0.4}, a=0.9, b=0.5),
    "empty": found({"a": None, "b": None}),
    "half": found({"a": 0.8, "b": None}, a=0.7),
}


def test_the_least_expected_dice_comes_first_and_the_unknown_before_it() -> None:
    rows = ranked({name: trust_of(one) for name, one in MASKS.items()})
    assert [row["mask"] for row in rows] == ["empty", "bad", "half", "good"]
    assert [row["expected_dice"] for row in rows] == [None, *map(pytest.approx, (0.7, 0.7, 0.85))]
    assert [row["agreement"] for row in rows] == [None, *map(pytest.approx, (0.675, 0.8, 0.9))]


def test_agreement_orders_where_nothing_is_expected() -> None:
    rows = ranked({name: trust_of(found({"a": value})) for name, value in (("x", 0.9), ("y", 0.7), ("z", 0.8))})
    assert [row["mask"] for row in rows] == ["y", "z", "x"]


def test_a_table_has_a_row_for_each_mask() -> None:
    assert trust_table({name: trust_of(one) for name, one in MASKS.items()}).row_count == 4


def test_what_is_said_of_a_mask() -> None:
    assert expected_words(MASKS["good"]) == "; expected Dice a 0.90 (0.80 to 1.00), b 0.80 (0.70 to 0.90)"
    assert expected_words(MASKS["empty"]) == ""
    assert doubts(MASKS["good"]) == []
    assert doubts(found({"a": None, "b": 0.9}, a=0.0, b=0.8)) == ["has no a, which all validation cases have"]
    (warning,) = doubts(MASKS["bad"])
    assert "b 0.50 (0.40 to 0.60)" in warning
    assert "a 0.90" not in warning
