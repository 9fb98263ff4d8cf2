"""Callbacks that stand between those of a training, and tell what time passes in them and outside them.

Keras calls a hook (`on_epoch_end`, ...) of all callbacks in the order of the list, one at a time. One callback before
all others therefore sees when Keras comes from a step or a validation, and one behind each sees when that is done. The
training's own callbacks, and what is between two hooks, stay as they are.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras

from kseg.benchmark.lap_timer import (
    CALLBACKS,
    CHECKPOINTS,
    FIRST_STEP,
    LOGS,
    MODEL,
    PICTURES,
    REST,
    STEPS,
    VALIDATIONS,
    LapTimer,
)
from kseg.training.callbacks import HistoryWriter
from kseg.training.checkpoints import Checkpoint
from kseg.training.step_times import StepTimes
from kseg.training.tensorboard_curves import TensorBoardCurves
from kseg.training.tensorboard_summaries import TensorBoardSummaries

ROW_OF = {
    TensorBoardSummaries: PICTURES,
    Checkpoint: CHECKPOINTS,
    TensorBoardCurves: LOGS,
    HistoryWriter: LOGS,
}
"""Callbacks that have a row of their own; the others share one."""


class TimeOutsideCallbacks(keras.callbacks.Callback):
    """Stands first in the list of callbacks and puts down what has passed since the last one.

    A step or a validation is counted without the callbacks' hooks that surround it.

    Args:
        timer: is given each moment of a training, from where it stands when `fit` has made its callbacks.
    """

    def __init__(self, timer: LapTimer):
        super().__init__()
        self.timer = timer
        self.steps: list[float] = []
        """Seconds of each step."""
        self.validations: list[float] = []
        """Seconds of each validation."""
        self.by_callback: dict[str, float] = defaultdict(float)
        """Seconds of the training's callbacks, by class."""
        self.waited_first = 0.0
        """Seconds in which the first step waited for its patches."""

    def around(self, callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
        """Return a training's callbacks with those that measure between them, as `kseg.training.fit.fit` takes them."""
        self._stopwatch = next(one for one in callbacks if isinstance(one, StepTimes)).stopwatch
        return [self, *(one for callback in callbacks for one in (callback, _TimeOf(callback, self)))]

    @property
    def waited(self) -> float:
        """Seconds in which all steps waited for their patches."""
        return self._stopwatch.seconds

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """`fit` has made the input and Keras its function of a step, which has no graph yet."""
        self.timer.lap(MODEL)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras has gone from epoch to epoch."""
        self.timer.lap(REST)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keras has gone to the next step; before the first one it starts the input."""
        self.timer.lap(REST if self.steps else FIRST_STEP)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """A step is done."""
        self.steps.append(self.timer.lap(STEPS))
        if len(self.steps) == 1:
            self.waited_first = self.waited

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keras has made a validation's beginning, of which the first makes its function and its input."""
        self.validations.append(self.timer.lap(VALIDATIONS))

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The validation goes on."""
        self.validations[-1] += self.timer.lap(VALIDATIONS)

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """A batch is validated."""
        self.validations[-1] += self.timer.lap(VALIDATIONS)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """All are."""
        self.validations[-1] += self.timer.lap(VALIDATIONS)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras has gathered an epoch's logs."""
        self.timer.lap(REST)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Keras has left its loop."""
        self.timer.lap(REST)


class _TimeOf(keras.callbacks.Callback):
    """Stands behind a callback and puts down each of its hooks."""

    def __init__(self, callback: keras.callbacks.Callback, outside: TimeOutsideCallbacks):
        super().__init__()
        self._name = type(callback).__name__
        self._row = ROW_OF.get(type(callback), CALLBACKS)
        self._outside = outside

    def _lap(self, *_: Any, **__: Any) -> None:
        self._outside.by_callback[self._name] += self._outside.timer.lap(self._row)

    on_train_begin = on_train_end = on_epoch_begin = on_epoch_end = _lap
    on_train_batch_begin = on_train_batch_end = _lap
    on_test_begin = on_test_end = on_test_batch_begin = on_test_batch_end = _lap
