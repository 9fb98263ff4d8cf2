"""Expected Dice beside the true one, on cases by hand."""

import pytest

from kseg.evaluation.expected_scores import ExpectedAndTrue, expected_and_true, with_expected
from kseg.evaluation.scores import ClassScore
from kseg.inference.expected_dice import ClassPoints, ExpectedDice


def score(name: str, dice: float | None, expected: float | None = None) -> ClassScore:
    low, high = (None, None) if expected is None else (expected - 0.1, expected + 0.1)
    return ClassScore(name, dice, None, None, None, None, 1.0, None, None, None, False, None, expected, low, high)


def compared(scores: dict[str, list[ClassScore]]) -> ExpectedAndTrue:
    found = expected_and_true(scores)
    if found is None:
        pytest.fail("too few cases")
    return found


POINTS = ClassPoints(agreement=(0.7, 0.8, 0.9, 0.95, 1.0), dice=(0.6, 0.7, 0.8, 0.85, 0.9), in_all=False)


def test_scores_get_what_their_agreement_makes_one_expect() -> None:
    expected = ExpectedDice(models=("ab",), flip_axes=(), classes={"a": POINTS, "b": POINTS})
    first, second = with_expected([score("a", 0.5), score("b", None)], [0.85, None], expected)
    assert (first.agreement, second.agreement) == (0.85, None)
    assert first.expected_dice == pytest.approx(0.75)
    assert first.expected_dice_low == pytest.approx(first.expected_dice_high)
    assert second.expected_dice is None
    (alone,) = with_expected([score("a", 0.5)], [0.85], None)
    assert (alone.agreement, alone.expected_dice) == (0.85, None)


def test_cases_are_ranked_by_their_means() -> None:
    # The third and the sixth are worst, the third and the fifth trusted least.
    true = (0.9, 0.8, 0.3, 0.7, 0.6, 0.5, 0.95, 0.85)
    expected = (
        0.9,
        0.82,
        0.5,
        0.75,
        0.4,
        0.7,
        0.91,
        0.85,
    )
    found = compared({f"{n}": [score("a", t, e)] for n, (t, e) in enumerate(zip(true, expected, strict=True))})
    assert (found.cases, found.worst, found.worst_found) == (8, 2, 1)
    assert found.rank_correlation == pytest.approx(1 - 6 * (1 + 1 + 4) / (8 * 63))  # ranks by hand
    assert (found.within, found.scored) == (5, 8)
    assert "0.93 over 8 cases; of the 2 worst 1 among the 2 least trusted; 5 of 8 masks" in str(found)


def test_too_few_or_equal_cases_have_no_correlation() -> None:
    assert expected_and_true({"1": [score("a", 0.5, 0.6)], "2": [score("a", 0.5, 0.6)]}) is None
    assert expected_and_true({f"{n}": [score("a", 0.5)] for n in range(5)}) is None
    alike = compared({f"{n}": [score("a", 0.5, 0.6)] for n in range(5)})
    assert (alike.rank_correlation, alike.worst_found) == (None, None)
    assert "correlation with the true one -" in str(alike)


def test_a_structure_that_was_missed_is_trusted_least() -> None:
    always = POINTS.model_copy(update={"in_all": True})
    expected = ExpectedDice(models=("ab",), flip_axes=(), classes={"a": always, "b": always})
    whole = with_expected([score("a", 0.9), score("b", 0.8)], [0.95, 0.9], expected)
    missed = with_expected([score("a", 0.9), score("b", 0.0)], [0.95, None], expected)
    found = compared({"1": whole, "2": missed, "3": whole})
    assert found.worst_found == 1
    assert found.unexpected == 0


def test_means_are_over_the_classes_that_have_both() -> None:
    cases = {f"{n}": [score("a", 0.5 + n / 10, 0.5 + n / 10), score("b", None, 0.1)] for n in range(4)}
    cases["3"].append(score("c", 0.1))
    found = compared(cases)
    assert found.rank_correlation == pytest.approx(1)
    assert found.unexpected == 1
    assert "nothing was expected of 1 more" in str(found)
