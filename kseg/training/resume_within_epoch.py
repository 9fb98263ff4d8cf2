"""A run that was stopped within an epoch goes on at its next step."""

from collections.abc import Iterator
from typing import Any

import keras

from kseg.training.checkpoints import State, assign_values


class ResumeWithinEpoch(keras.callbacks.Callback):
    """Passes over the steps of the first epoch that are done already, and restores what was counted in them.

    Keras' `fit` begins epochs at their first step. Here the done steps count, but nothing is drawn or computed in them,
    so that the epoch has as many steps as any other, even if all that is left of it is its validation.

    Args:
        state: where the run stands.
    """

    def __init__(self, state: State):
        super().__init__()
        self.state = state
        self._left = state.steps_done

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Stand in for the training step."""
        if self._left:
            self._step = self.model.train_function
            self.model.train_function = self._pass_over

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Restore what was counted; Keras has just reset it."""
        if self._left:
            assign_values(self.model.metrics_variables, self.state.metrics)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Pass over nothing more, also where time ended the epoch early."""
        if self.state.steps_done:
            self._left, self.model.train_function = 0, self._step

    def _pass_over(self, iterator: Iterator[Any]) -> dict[str, Any]:
        self._left -= 1
        if not self._left:
            self.model.train_function = self._step
        return self.model.results()
