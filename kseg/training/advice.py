"""What a finished run's curve says of the time that it was given."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kseg.console.text import counted
from kseg.runs.planned_recipe import ENOUGH_STEPS

FEW_STEPS = 300
"""Below, a network has hardly begun to learn, whatever its validation Dice."""
RISING = 0.015
"""Gain of the validation Dice over the last third of a run that another third would go on with."""
ERRORS = 2.0
"""Standard errors of that gain which are given with it; one that is not beyond them may be noise."""
LEVEL = 0.005
"""Difference of validation Dice that is none."""
EARLY = 0.4
"""Share of a run after which one that gains no more has had too much time."""


@dataclass(frozen=True)
class Advice:
    """What a run's curve says, in one line, and how many times as long a better one would train: 1 for no longer."""

    line: str
    longer: float = 1.0


def advice(history: Mapping[str, Sequence[float]], steps: int) -> Advice | None:
    """Return whether more time would help than a run was given; None if its curve does not say.

    The gain is that of a straight line through the validations of the last third, with twice its standard error.

    Args:
        history: `read_history`'s: `epoch`, counted from 0, and `val_dice`, for each epoch that was validated.
        steps: that the run made.

    Example:
        >>> advice({"epoch": [0, 1, 2, 3, 4], "val_dice": [0.2, 0.3, 0.4, 0.5, 0.59]}, steps=800).line
        'validation Dice was still rising (by 0.158 ± 0.010 in the last third): more time would help'
        >>> advice({"epoch": [0, 1, 2, 3, 4], "val_dice": [0.2, 0.6, 0.6, 0.6, 0.6]}, steps=800).line
        'validation Dice has not risen since epoch 2 of 5: less time would have done'
    """
    if steps < FEW_STEPS:
        line = f"hardly trained: it made {counted(steps, 'step')}, and needs some {ENOUGH_STEPS}"
        return Advice(line, ENOUGH_STEPS / max(steps, 1))
    dice, epochs = history["val_dice"], [int(epoch) + 1 for epoch in history["epoch"]]
    if len(dice) < 3:
        return None
    gain, error = _gain(epochs, dice)
    said = f"by {gain:.3f} ± {error:.3f} in the last third"
    if gain > max(RISING, error):
        return Advice(f"validation Dice was still rising ({said}): more time would help", 2.0)
    settled = next(epoch for value, epoch in zip(dice, epochs, strict=True) if value >= max(dice) - LEVEL)
    if settled <= EARLY * epochs[-1]:
        return Advice(f"validation Dice has not risen since epoch {settled} of {epochs[-1]}: less time would have done")
    if gain > RISING:
        return Advice(f"validation Dice may still have been rising ({said}, which may be noise)")
    return Advice(f"validation Dice hardly rose any more ({said}): more time would bring little")


def _gain(epochs: Sequence[int], dice: Sequence[float]) -> tuple[float, float]:
    """Return what the Dice gained over the last third of the epochs, and twice its standard error."""
    from scipy.stats import linregress

    first = min(bisect_right(epochs, epochs[-1] * 2 / 3) - 1, len(dice) - 3)  # a line through two has no error
    line = linregress(epochs[first:], dice[first:])
    third = epochs[-1] / 3
    return line.slope * third, ERRORS * line.stderr * third
