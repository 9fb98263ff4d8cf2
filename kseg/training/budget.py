"""A run that is bounded by steps and, if asked, by time: its learning rate follows what is spent of both.

The time is that of training: starting, and the first step and first batch of a validation, which compile, come free.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import keras

from kseg.recipe.sections import Train
from kseg.training.schedule import learning_rate

UNKNOWN = 0.05
"""Of a bounded time that is kept for the first validation, of which nothing is known yet."""
MEASURED = 4
"""Steps after the first whose median tells how many will fit."""
AFTERWARDS = 0.03
"""Of a bounded time, the most that is kept for what follows the last validation, and the least that this has."""


class TooFewSteps(Exception):
    """So few steps fit into the time that smaller patches would teach more.

    Args:
        step_seconds: the median of the first steps, without the one that compiled.
    """

    def __init__(self, step_seconds: float):
        super().__init__(f"steps take {step_seconds:.3g} s")
        self.step_seconds = step_seconds


class Budget(keras.callbacks.Callback):
    """Sets the learning rate before each step, and ends the run in time.

    Progress is the larger of the shares of steps and of time that are spent, so that the schedule ends where the run
    ends. Time is kept for the validation that follows the last step, and for what follows that.

    Args:
        options: the recipe's section.
        first_epoch: epochs done by the run before it was resumed.
        spent_seconds: time of training that the commands have spent which this one resumes.
        clock: `time.monotonic`, or one that all workers agree on.
        steps_done: of the first epoch, which are passed over.
        least_steps: raise `TooFewSteps` once the first steps show that fewer would fit; 0 for never.
        steps_afterwards: as many steps' time as is needed after the last validation.
    """

    def __init__(
        self,
        options: Train,
        first_epoch: int = 0,
        spent_seconds: float = 0.0,
        clock: Callable[[], float] | None = None,
        steps_done: int = 0,
        least_steps: int = 0,
        steps_afterwards: float = 0.0,
    ):
        super().__init__()
        self.options = options
        self.least_steps = least_steps
        self._steps_afterwards = steps_afterwards
        self.steps = first_epoch * options.steps_per_epoch
        self._done_before = self.steps + steps_done
        self.limit_seconds = 60.0 * options.max_minutes or math.inf
        self._clock = clock or time.monotonic
        self._spent_before = spent_seconds
        self._origin: float | None = None
        self._first_steps: list[float] = []
        self._validations: list[float] = []
        self._looks: list[float] = []
        self._step_began = self._test_began = self._clock()

    @property
    def has_compiled(self) -> bool:
        """Whether a step is done, from which on the time counts."""
        return self._origin is not None

    @property
    def spent_seconds(self) -> float:
        """Time of training so far."""
        return self._spent_before + (0.0 if self._origin is None else self._clock() - self._origin)

    @property
    def validation_seconds(self) -> float:
        """Time to keep for the last validation and look: the longest of each so far but the first.

        Before there is any: `UNKNOWN` of the limit.
        """
        if not self._validations:
            return UNKNOWN * self.limit_seconds if self.has_compiled and self.options.max_minutes else 0.0
        return sum(max(times[1:] or times, default=0.0) for times in (self._validations, self._looks))

    @property
    def kept_seconds(self) -> float:
        """Time to keep for all that follows the last step."""
        if not self._first_steps:
            return self.validation_seconds
        afterwards = min(self._steps_afterwards * median(self._first_steps), AFTERWARDS * self.limit_seconds)
        return self.validation_seconds + afterwards

    @property
    def seconds_afterwards(self) -> float:
        """Time that there is for what follows the last validation, once it is over."""
        return max(self.limit_seconds - self.spent_seconds, AFTERWARDS * self.limit_seconds)

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        """Within the block time is not that of training: something compiles."""
        began = self._clock()
        yield
        if self._origin is not None:
            self._origin += self._clock() - began

    def count_look(self, seconds: float) -> None:
        """Remember how long a look at a validation takes (`TensorBoardSummaries`); the last one has one, too."""
        self._looks.append(seconds)

    @property
    def progress(self) -> float:
        """Share of the run that is spent, in [0, 1]."""
        by_steps = self.steps / (self.options.epochs * self.options.steps_per_epoch)
        by_time = self.spent_seconds / max(self.limit_seconds - self.kept_seconds, 1.0)
        return min(max(by_steps, by_time), 1.0)

    @property
    def left_seconds(self) -> float | None:
        """Time until steps or minutes are used up, as fast as steps have been in this command; None before one is."""
        timed = self.steps - self._done_before - 1  # the first compiles
        if self._origin is None or timed < 1:
            return None
        steps_left = self.options.epochs * self.options.steps_per_epoch - self.steps
        by_steps = (self._clock() - self._origin) / timed * steps_left + self.kept_seconds
        return min(by_steps, max(self.limit_seconds - self.spent_seconds, 0.0))

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Set this step's learning rate."""
        self._step_began = self._clock()
        self.model.optimizer.learning_rate = learning_rate(self.options, self.progress)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """End the run when another step and its validation would not fit; the time begins after the first step.

        Raises:
            TooFewSteps: see `least_steps`.
        """
        self.steps += 1
        took = 0.0
        if self._origin is not None:
            took = self._clock() - self._step_began
            self._check_steps(took)
        elif self.steps > self._done_before:
            self._origin = self._clock()
        if self.spent_seconds + took + self.kept_seconds > self.limit_seconds:
            self.model.stop_training = True

    def _check_steps(self, took: float) -> None:
        if len(self._first_steps) == MEASURED:
            return
        self._first_steps.append(took)
        if self.least_steps and len(self._first_steps) == MEASURED:
            seconds = median(self._first_steps)
            if seconds * self.least_steps > self.limit_seconds:
                raise TooFewSteps(seconds)

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Start the clock of a validation."""
        self._test_began = self._clock()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Take the first validation's first batch, which compiles, out of the time."""
        if self._origin is None or self._validations or batch > 0:
            return
        compiled = self._clock() - self._test_began
        self._origin += compiled
        self._test_began += compiled

    def on_test_end(self, logs: dict | None = None) -> None:
        """Remember how long a validation takes."""
        self._validations.append(self._clock() - self._test_began)
