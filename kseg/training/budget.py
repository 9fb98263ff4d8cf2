"""A run that is bounded by steps and, if asked, by time: its learning rate follows what is spent of both."""

import math
import time
from collections.abc import Callable

import keras

from kseg.recipe.sections import Train
from kseg.training.schedule import learning_rate

UNKNOWN = 0.05
"""Of a bounded time that is kept at most for the first validation, of which nothing is known yet."""


class Budget(keras.callbacks.Callback):
    """Sets the learning rate before each step, and ends the run in time.

    Progress is the larger of the shares of steps and of time that are spent, so that the schedule ends where the run
    ends. Time is kept for the validation that follows the last step.

    Args:
        options: the recipe's section.
        first_epoch: epochs done by the run before it was resumed.
        spent_seconds: time spent before `fit` begins, by this command and by the ones it resumes.
        clock: `time.monotonic`, or one that all workers agree on.
    """

    def __init__(
        self,
        options: Train,
        first_epoch: int = 0,
        spent_seconds: float = 0.0,
        clock: Callable[[], float] | None = None,
    ):
        super().__init__()
        self.options = options
        self.steps = first_epoch * options.steps_per_epoch
        self.limit_seconds = 60.0 * options.max_minutes or math.inf
        self._clock = clock or time.monotonic
        self._origin = self._clock() - spent_seconds
        self._first_step: float | None = None
        self._validations: list[float] = []
        self._looks: list[float] = []
        self._step_began = self._test_began = self._clock()

    @property
    def spent_seconds(self) -> float:
        """Time spent by the run so far."""
        return self._clock() - self._origin

    @property
    def validation_seconds(self) -> float:
        """Time to keep for the last validation and look: the longest of each so far but the first, which compiles.

        Before there is any: what the first step took, which compiled too, `UNKNOWN` of the limit at most.
        """
        if not self._validations:
            return min(self._first_step or 0.0, UNKNOWN * self.limit_seconds)
        return sum(max(times[1:] or times, default=0.0) for times in (self._validations, self._looks))

    def count_look(self, seconds: float) -> None:
        """Remember how long a look at a validation takes (`TensorBoardSummaries`); the last one has one, too."""
        self._looks.append(seconds)

    @property
    def progress(self) -> float:
        """Share of the run that is spent, in [0, 1]."""
        by_steps = self.steps / (self.options.epochs * self.options.steps_per_epoch)
        by_time = self.spent_seconds / max(self.limit_seconds - self.validation_seconds, 1.0)
        return min(max(by_steps, by_time), 1.0)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Set this step's learning rate."""
        self._step_began = self._clock()
        self.model.optimizer.learning_rate = learning_rate(self.options, self.progress)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """End the run when another step and its validation would not fit.

        The first step, which compiles, says nothing of how long the next one takes.
        """
        self.steps += 1
        took = self._clock() - self._step_began
        if self._first_step is None:
            self._first_step, took = took, 0.0
        if self.spent_seconds + took + self.validation_seconds > self.limit_seconds:
            self.model.stop_training = True

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Start the clock of a validation."""
        self._test_began = self._clock()

    def on_test_end(self, logs: dict | None = None) -> None:
        """Remember how long a validation takes."""
        self._validations.append(self._clock() - self._test_began)
