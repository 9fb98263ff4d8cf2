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
    """Return what would have been better than the time that a run was given; None if its curve does not say.

    Args:
        history: `read_history`'s: `epoch`, counted from 0, and `val_dice`, for each epoch that was validated.
        steps: that the run made.

    Example:
        >>> advice({"epoch": [0, 1, 2, 3], "val_dice": [0.2, 0.4, 0.5, 0.6]}, steps=800).line
        'validation Dice was still rising (0.400 to 0.600 in the last third)'
        >>> advice({"epoch": [0, 1, 2, 3, 4], "val_dice": [0.2, 0.6, 0.6, 0.6, 0.6]}, steps=800).line
        'validation Dice has not risen since epoch 2 of 5: less time would have done'
    """
    if steps < FEW_STEPS:
        line = f"hardly trained: it made {counted(steps, 'step')}, and needs some {ENOUGH_STEPS}"
        return Advice(line, ENOUGH_STEPS / max(steps, 1))
    dice, epochs = history["val_dice"], [int(epoch) + 1 for epoch in history["epoch"]]
    if len(dice) < 3:
        return None
    before = dice[bisect_right(epochs, epochs[-1] * 2 / 3) - 1]
    if dice[-1] - before > RISING:
        return Advice(f"validation Dice was still rising ({before:.3f} to {dice[-1]:.3f} in the last third)", 2.0)
    settled = next(epoch for value, epoch in zip(dice, epochs, strict=True) if value >= max(dice) - LEVEL)
    if settled <= EARLY * epochs[-1]:
        return Advice(f"validation Dice has not risen since epoch {settled} of {epochs[-1]}: less time would have done")
    return None
