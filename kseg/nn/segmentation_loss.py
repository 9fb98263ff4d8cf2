"""The loss of a recipe: a weighted sum of terms."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import KerasTensor

from kseg.nn.losses import cross_entropy, focal_tversky_loss, tversky_loss
from kseg.nn.parametric_tversky import Mode, ParametricTversky


@keras.saving.register_keras_serializable("kseg")
class SegmentationLoss(keras.layers.Layer):
    """A weighted sum of losses; a weight of 0 leaves a term out.

    Args:
        parametric_tversky: weight of `ParametricTversky`.
        tversky: weight of the Tversky loss with fixed penalties.
        focal_tversky: weight of the focal Tversky loss, with the same penalties.
        dice: weight of the Dice loss.
        cross_entropy: weight of the cross-entropy.
        alpha: penalty of false positives in `tversky` and `focal_tversky`; false negatives get `1 - alpha`.
        gamma: of `focal_tversky`: its exponent is `1 / gamma`.
        mode, learning_rate_multiplier, min_weight, prior: of `ParametricTversky`.
        partly_labelled: voxels with a label of `classes` or more are left out (`kseg.nn.losses`).
        regions: class indices of each region, where these are learned instead of the classes (`kseg.nn.losses`).

    Call it with labels `(batch, x, y, z)`, class indices, and probabilities `(batch, x, y, z, classes)`; it returns
    the loss, a scalar. The terms are those of `kseg.nn.losses`, which names their papers and equations.

    Raises:
        ValueError: an option of `ParametricTversky` is outside its range.

    Example:
        A network that knows nothing, 0.5 for each of two classes: a Dice score of 1 / (1 + 0.5 + 0.5), and ln 2 nats.

        >>> import kseg
        >>> import numpy as np
        >>> labels = np.array([0, 0, 1, 1]).reshape(1, 4, 1, 1)
        >>> probabilities = np.full((1, 4, 1, 1, 2), 0.5)
        >>> for weights in [{"dice": 1}, {"cross_entropy": 1}, {"dice": 1, "cross_entropy": 0.5}]:
        ...     loss = kseg.SegmentationLoss(parametric_tversky=0, **weights)
        ...     print(f"{float(loss(labels, probabilities)):.3f}")
        0.500
        0.693
        0.847
    """

    def __init__(
        self,
        parametric_tversky: float = 1.0,
        tversky: float = 0.0,
        focal_tversky: float = 0.0,
        dice: float = 0.0,
        cross_entropy: float = 0.0,
        alpha: float = 0.5,
        gamma: float = 4 / 3,
        mode: Mode = "joint",
        learning_rate_multiplier: float = 1.0,
        min_weight: float = 0.0,
        prior: float = 0.0,
        partly_labelled: bool = False,
        regions: Sequence[Sequence[int]] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.weights_of_terms = {
            "parametric_tversky": parametric_tversky,
            "tversky": tversky,
            "focal_tversky": focal_tversky,
            "dice": dice,
            "cross_entropy": cross_entropy,
        }
        self.alpha = alpha
        self.gamma = gamma
        self.partly_labelled = partly_labelled
        self.regions = tuple(map(tuple, regions))
        self.learning: dict[str, Any] = {
            "mode": mode,
            "learning_rate_multiplier": learning_rate_multiplier,
            "min_weight": min_weight,
            "prior": prior,
            "partly_labelled": partly_labelled,
            "regions": self.regions,
        }
        self.learned = ParametricTversky(name="parametric_tversky", **self.learning) if parametric_tversky else None

    def build(self, *input_shapes: Any) -> None:
        """Make the learned penalties, where they are part of the loss."""
        if self.learned is not None and not self.learned.built:
            self.learned.build()

    def call(self, labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
        """Return the loss, a scalar, for labels `(batch, x, y, z)` and probabilities `(batch, x, y, z, classes)`."""
        alpha, beta, kind = self.alpha, 1.0 - self.alpha, (self.partly_labelled, self.regions)
        terms: dict[str, Callable[[KerasTensor, KerasTensor], KerasTensor] | None] = {
            "parametric_tversky": self.learned,
            "tversky": lambda y, p: tversky_loss(y, p, alpha, beta, *kind),
            "focal_tversky": lambda y, p: focal_tversky_loss(y, p, alpha, beta, self.gamma, *kind),
            "dice": lambda y, p: tversky_loss(y, p, 0.5, 0.5, *kind),
            "cross_entropy": lambda y, p: cross_entropy(y, p, *kind),
        }
        weighted = [(weight, terms[name]) for name, weight in self.weights_of_terms.items()]
        return sum(weight * term(labels, probabilities) for weight, term in weighted if weight and term)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        fixed = {"alpha": self.alpha, "gamma": self.gamma}
        return {**super().get_config(), **self.weights_of_terms, **fixed, **self.learning}
