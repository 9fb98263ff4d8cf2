"""The Tversky loss whose penalties are learned, as in the paper, and four ways to keep them from running away."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
from keras import KerasTensor, ops

from kseg.nn.losses import tversky_loss

Mode = Literal["joint", "adversarial"]


@keras.saving.register_keras_serializable("kseg")
class ParametricTversky(keras.layers.Layer):
    """The Tversky loss whose penalties are learned: `(alpha, beta) = softmax(logits)` (Al Chanti et al., section 3).

    The logits start equal, alpha = beta = 0.5, the Dice loss, and are trained by the network's own optimiser. They
    are weights of a layer, not of a `keras.losses.Loss`, because Keras trains only what a model's layers own.
    With beta = 1 - alpha, `dL/dalpha = TP (FP - FN) / (TP + alpha FP + beta FN)^2`: descent moves weight away from
    the larger error, so that FP = FN is an unstable balance and a penalty, left alone, ends near 0. Hence the options;
    the defaults are the paper's.

    Args:
        mode: `"joint"`, network and penalties both descend; `"adversarial"`, the penalties ascend, towards the larger
            error, and FP = FN is stable.
        learning_rate_multiplier: how many times faster than the network's weights the logits learn.
        min_weight: neither penalty falls below it: `alpha = min_weight + (1 - 2 min_weight) softmax(logits)[0]`.
        prior: weight of a pull to (0.5, 0.5), `-log(4 alpha beta)`, which is added to the loss: but for a constant the
            negative logarithm of a Beta(1 + prior, 1 + prior) distribution of alpha.
        partly_labelled: voxels with a label of `classes` or more are left out (`kseg.nn.losses`).
        regions: class indices of each region, where these are learned instead of the classes (`kseg.nn.losses`).

    Call it with labels `(batch, x, y, z)`, class indices, and probabilities `(batch, x, y, z, classes)`; it returns
    the loss, a scalar between 0 and 1 but for the prior.

    Raises:
        ValueError: an option is outside its range; names it, what is allowed, and the value.

    Example:
        Of three voxels of muscle two are found: TP = 2, FP = 0, FN = 1, so the loss is 1 - 2 / (2 + 0.5).

        >>> import kseg
        >>> import numpy as np
        >>> labels = np.array([0, 1, 1, 1]).reshape(1, 4, 1, 1)
        >>> muscle = np.array([0.0, 1.0, 1.0, 0.0]).reshape(1, 4, 1, 1)
        >>> loss = kseg.ParametricTversky(min_weight=0.1)
        >>> print(f"{float(loss(labels, np.stack([1 - muscle, muscle], axis=-1))):.3f}")
        0.200

        Alpha and beta follow from two logits, add up to 1, and keep to their bound however far the logits go:

        >>> for logits in [(0, 0), (1, 0), (9, -9)]:
        ...     _ = loss.logits.assign(logits)
        ...     print(f"{float(loss.alpha):.3f} + {float(loss.beta):.3f} = {float(loss.alpha + loss.beta):.3f}")
        0.500 + 0.500 = 1.000
        0.685 + 0.315 = 1.000
        0.900 + 0.100 = 1.000
    """

    def __init__(
        self,
        mode: Mode = "joint",
        learning_rate_multiplier: float = 1.0,
        min_weight: float = 0.0,
        prior: float = 0.0,
        partly_labelled: bool = False,
        regions: Sequence[Sequence[int]] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be {' or '.join(map(repr, get_args(Mode)))}. Received {mode!r}")
        if not learning_rate_multiplier > 0:
            raise ValueError(f"learning_rate_multiplier must be above 0. Received {learning_rate_multiplier!r}")
        if not 0 <= min_weight < 0.5:
            raise ValueError(f"min_weight must be at least 0 and below 0.5. Received {min_weight!r}")
        if not prior >= 0:
            raise ValueError(f"prior must be at least 0. Received {prior!r}")
        self.mode = mode
        self.learning_rate_multiplier = learning_rate_multiplier
        self.min_weight = min_weight
        self.prior = prior
        self.partly_labelled = partly_labelled
        self.regions = tuple(map(tuple, regions))

    def build(self, *input_shapes: Any) -> None:
        """Make the two logits; they do not depend on the shapes."""
        self.logits = self.add_weight(
            name="logits",
            shape=(2,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
            aggregation="mean",
        )

    @property
    def alpha(self) -> KerasTensor:
        """Penalty of false positives, in (0, 1)."""
        return self._penalties()[0]

    @property
    def beta(self) -> KerasTensor:
        """Penalty of false negatives, `1 - alpha`."""
        return self._penalties()[1]

    def call(self, labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
        """Return the loss, a scalar, for labels `(batch, x, y, z)` and probabilities `(batch, x, y, z, classes)`."""
        alpha, beta = self._penalties(-1.0 if self.mode == "adversarial" else 1.0)
        loss = tversky_loss(labels, probabilities, alpha, beta, self.partly_labelled, self.regions)
        if self.prior:
            alpha, beta = self._penalties()  # the prior is obeyed in either mode
            loss = loss - self.prior * ops.log(4.0 * alpha * beta)
        return loss

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "min_weight": self.min_weight,
            "prior": self.prior,
            "partly_labelled": self.partly_labelled,
            "regions": self.regions,
        }

    def _penalties(self, direction: float = 1.0) -> list[KerasTensor]:
        """Alpha and beta, whose gradients reach the logits times `direction`."""
        if not self.built:
            self.build()
        # The weight moves as the optimiser sees fit, the logits so many times as far: the part that makes them larger
        # has no gradient, or else SGD would see the multiplier twice, and Adam, which divides by the gradient, once.
        further = self.learning_rate_multiplier - direction
        logits = direction * self.logits + ops.stop_gradient(further * self.logits)
        return ops.unstack(self.min_weight + (1.0 - 2.0 * self.min_weight) * ops.softmax(logits), num=2)
