"""How long a step takes, and how much of it the input is waited for."""

import time

import keras
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

from kseg.patches.stopwatch import Stopwatch


class Timing(BaseModel):
    """Steps of an epoch, the seconds that they took, and those in which the input was waited for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0
    waited: NonNegativeFloat = 0.0


class StepTimes(keras.callbacks.Callback):
    """Adds to an epoch's logs the time of a step, in seconds, and the share of it in which the input was waited for.

    Args:
        stopwatch: around the input.
        done: the timing of the first epoch's first steps, which an earlier command has made.
        steps_done: how many these were.
    """

    def __init__(self, stopwatch: Stopwatch, done: Timing | None = None, steps_done: int = 0):
        super().__init__()
        self.stopwatch = stopwatch
        self._done = done or Timing()
        self._steps_done = steps_done

    @property
    def timing(self) -> Timing:
        """The epoch's so far."""
        waited = self.stopwatch.seconds - self._waited_before
        return Timing(
            steps=self._done.steps + self._steps,
            seconds=self._done.seconds + self._in_steps,
            waited=self._done.waited + waited,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start to count."""
        self._steps, self._in_steps = 0, 0.0
        self._waited_before = self.stopwatch.seconds

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock of a step."""
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop it."""
        if batch >= self._steps_done:
            self._steps += 1
            self._in_steps += time.monotonic() - self._began

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Hand the figures on to the callbacks that write logs; they must come later in the list."""
        timing = self.timing
        if logs is not None and timing.steps:
            logs |= {"step_seconds": timing.seconds / timing.steps, "input_wait": timing.waited / timing.seconds}
        self._done, self._steps_done = Timing(), 0
