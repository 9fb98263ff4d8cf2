"""How long a step takes, and how much of it the input is waited for."""

import time

import keras

from kseg.patches.waiting import Stopwatch


class Times(keras.callbacks.Callback):
    """Adds to an epoch's logs the time of a step, in seconds, and the share of it in which the input was waited for."""

    def __init__(self, stopwatch: Stopwatch):
        super().__init__()
        self.stopwatch = stopwatch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start to count."""
        self._steps, self._in_steps = 0, 0.0
        self._waited_before = self.stopwatch.seconds

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock of a step."""
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop it."""
        self._steps += 1
        self._in_steps += time.monotonic() - self._began

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Hand the figures on to the callbacks that write logs; they must come later in the list."""
        if logs is not None and self._steps:
            waited = self.stopwatch.seconds - self._waited_before
            logs |= {"step_seconds": self._in_steps / self._steps, "input_wait": waited / self._in_steps}
