"""What a curve says of the time that its run was given."""

import pytest

from kseg.training.advice import Advice, advice


def history(*dice: float) -> dict[str, list[float]]:
    return {"epoch": [float(epoch) for epoch in range(len(dice))], "val_dice": list(dice)}


def test_a_run_of_few_steps_is_hardly_trained_whatever_its_dice() -> None:
    line = "hardly trained: it made 37 steps, and needs some 500"
    assert advice(history(0.9, 0.9, 0.9), 37) == Advice(line, 500 / 37)
    assert "1 step," in advice(history(0.9), 1).line


def test_one_that_was_still_rising_wants_more_time() -> None:
    line = "validation Dice was still rising (by 0.100 ± 0.000 in the last third): more time would help"
    assert advice(history(0.1, 0.3, 0.5, 0.6, 0.65, 0.7), 600) == Advice(line, 2.0)


def test_one_that_long_stopped_rising_wanted_less() -> None:
    line = "validation Dice has not risen since epoch 2 of 6: less time would have done"
    assert advice(history(0.1, 0.898, 0.9, 0.9, 0.899, 0.9), 600) == Advice(line, 1.0)


def test_one_that_hardly_rose_any_more_had_its_time() -> None:
    line = "validation Dice hardly rose any more (by 0.010 ± 0.000 in the last third): more time would bring little"
    assert advice(history(0.5, 0.8, 0.85, 0.885, 0.89, 0.895), 600) == Advice(line)


def test_a_gain_within_its_noise_is_said_to_be_that() -> None:
    # By hand: through 0.80, 0.83, 0.81 and 0.84 at 6, 7, 8 and 9 the slope is 0.01, its standard error 0.00707
    found = advice(history(0.1, 0.3, 0.5, 0.6, 0.7, 0.80, 0.83, 0.81, 0.84), 600)
    assert found == Advice(
        "validation Dice may still have been rising (by 0.030 ± 0.042 in the last third, which may be noise)"
    )


@pytest.mark.parametrize("dice", [(0.5,), (0.5, 0.9)])
def test_of_one_or_two_validations_nothing_is_said(dice: tuple[float, ...]) -> None:
    assert advice(history(*dice), 600) is None
