"""When a run is validated: after each epoch, or, where its minutes count, as often as a small share of them allows."""

import math
import time
from collections.abc import Callable

import keras

from kseg.recipe.sections import Train

SHARE = 0.04
"""Of a bounded time that validations may take, with the looks at them and the checkpoints that follow."""


class ValidationTimes(keras.callbacks.Callback):
    """Decides after which epochs a run is validated.

    A run that steps bound is validated after each epoch, so that it is the same each time it is made. One that minutes
    bound (`train.max_minutes`) spends `SHARE` of them: after the first epoch, then whenever the last validation was so
    long ago that another one keeps the share, and at its end.

    Args:
        options: the recipe's section.
        clock: `time.monotonic`, or one that all workers agree on.
    """

    def __init__(self, options: Train, clock: Callable[[], float] | None = None):
        super().__init__()
        self.options = options
        self._clock = clock or time.monotonic
        self._began: float | None = None
        self._costs: list[float] = []
        self._ended = -math.inf

    @property
    def frequency(self) -> list[int]:
        """What Keras' `fit` takes as its `validation_freq`: a list that is asked for each epoch, counted from 1."""
        return _AskedEpochs(self.is_due)

    def is_due(self, epoch: int) -> bool:
        """Say whether `epoch`, counted from 1, whose steps are done, is validated."""
        if not self.options.max_minutes or not self._costs:
            return True
        if epoch == self.options.epochs or self.model.stop_training:
            return True
        return self._clock() - self._ended >= self._cost / SHARE

    @property
    def _cost(self) -> float:
        """Seconds of a validation and what follows it: of the last, or half of the first's, which compiles."""
        return self._costs[-1] if len(self._costs) > 1 else self._costs[0] / 2

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._began = self._clock()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop it: all that follows a validation is done."""
        if self._began is not None:
            self._ended = self._clock()
            self._costs.append(self._ended - self._began)
            self._began = None


class _AskedEpochs(list[int]):
    """A list that holds the epochs of which a function says so."""

    def __init__(self, holds: Callable[[int], bool]):
        super().__init__()
        self._holds = holds

    def __contains__(self, epoch: object) -> bool:
        return isinstance(epoch, int) and self._holds(epoch)


def is_validated(logs: dict[str, float] | None) -> bool:
    """Say whether an epoch's logs are those of one that was validated."""
    return "val_dice" in (logs or {})
