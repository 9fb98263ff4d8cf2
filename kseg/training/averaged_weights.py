"""The exponential moving average of the weights: what validates and is kept, while training goes on with the weights.

Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992. Keras' optimiser keeps the average.
Its `SwapEMAWeights` puts it in by sums and differences, which round: half of the weights come back changed by some
3e-8, so that a run which is stopped while it validates, and validates again, would end elsewhere. Copies are exact.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import keras


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within the block the model has its averaged weights, if its optimiser keeps them; afterwards its own again."""
    # Keras wraps the optimiser of a float16 model in one that scales the loss.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    weights = [keras.ops.copy(variable.value) for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)


class ValidateAveragedWeights(keras.callbacks.Callback):
    """Validates the averaged weights."""

    def __init__(self) -> None:
        super().__init__()
        self._block = ExitStack()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Put the averaged weights in."""
        self._block.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs: dict | None = None) -> None:
        """Put the weights back."""
        self._block.close()
