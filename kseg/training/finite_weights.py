"""A training that has become nonsense ends at once, in one line, and keeps nothing of it."""

import math

import keras
import numpy as np
from keras import ops

from kseg.console.errors import InputError

Logs = dict[str, float]


class FiniteWeights(keras.callbacks.Callback):
    """Ends a run whose weights are NaN or infinite, before they are validated; `Checkpoint` keeps none of these.

    No later step brings them back. Where the loss alone is no number, as in a step of float16 that overflows and is
    left out, the run goes on.
    """

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """The loss is that of the epoch so far: once it is no number it stays so."""
        self._is_told = False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the weights once the loss is no number."""
        if not (self._is_told or math.isfinite(float((logs or {}).get("loss", 0.0)))):
            self._is_told = True
            check_finite(self.model)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Look at them before they are validated."""
        check_finite(self.model)


def check_finite(model: keras.Model) -> None:
    """See to it that all weights that are learned are numbers.

    Raises:
        InputError: some are NaN or infinite.
    """
    for weight in model.trainable_variables:
        if not np.isfinite(ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"the training has diverged: '{weight.path}' holds NaN or infinity; train anew with --force and a "
                "lower train.learning_rate, or with train.clip_norm=1"
            )
