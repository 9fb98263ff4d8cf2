"""Keras' optimisers as a recipe asks for them, with an average of the weights that is right from the first steps on."""

from typing import Any

import keras
from keras import KerasTensor, ops

from kseg.recipe.sections import Train


class _RampedAverage(keras.optimizers.Optimizer):
    """Averages the weights over no more than a ninth of the steps done: `ema_momentum` is reached later.

    An average over 200 steps still holds what the network was at its first ones when 500 are done, and is the worse
    for it. The momentum of step t is `min(ema_momentum, (1 + t) / (10 + t))`, as in TensorFlow's
    `tf.train.ExponentialMovingAverage(num_updates=t)`.
    """

    @property
    def ema_momentum(self) -> KerasTensor:
        """The momentum of the step under way, a scalar."""
        done = ops.cast(self.iterations, "float32")
        return ops.minimum(self._most, (1.0 + done) / (10.0 + done))

    @ema_momentum.setter
    def ema_momentum(self, most: float) -> None:
        self._most = most

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "ema_momentum": self._most}


@keras.saving.register_keras_serializable("kseg")
class AveragingAdam(_RampedAverage, keras.optimizers.Adam):
    """Adam; see `_RampedAverage`."""


@keras.saving.register_keras_serializable("kseg")
class AveragingAdamW(_RampedAverage, keras.optimizers.AdamW):
    """AdamW; see `_RampedAverage`."""


@keras.saving.register_keras_serializable("kseg")
class AveragingSGD(_RampedAverage, keras.optimizers.SGD):
    """SGD; see `_RampedAverage`."""


def build_optimizer(options: Train) -> keras.Optimizer:
    """Return the optimiser of a new run; `kseg.training.budget.Budget` sets its learning rate before each step."""
    common = {
        "learning_rate": options.learning_rate,
        "global_clipnorm": options.clip_norm or None,
        "use_ema": options.ema > 0,
        "ema_momentum": options.ema or 0.99,  # checked by Keras even where it is not used
    }
    if options.optimizer == "sgd":
        return AveragingSGD(momentum=0.9, nesterov=True, **common)
    if options.optimizer == "adamw":
        return AveragingAdamW(weight_decay=options.weight_decay, **common)
    return AveragingAdam(**common)
