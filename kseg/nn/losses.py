"""Losses for badly imbalanced classes, on soft sums over the whole batch; pure functions and their thin owners.

Labels are indices `(batch, x, y, z)`, 0 the background; probabilities `(batch, x, y, z, classes)`. Sums run over
batch and space and over all replicas, so that N replicas of batch 1 give what one replica of batch N gives.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor, ops

from kseg.nn.compiled import compiled
from kseg.nn.replicas import sum_over_replicas


def soft_counts(labels: KerasTensor, probabilities: KerasTensor) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Return soft true positives, false positives and false negatives of each foreground class, `(classes - 1,)`.

    Sums are float32 whatever the input's dtype: half precision cannot count the voxels of a patch.
    """
    sums = sum_over_replicas(compiled(overlap_and_sums)(labels, probabilities))
    overlap, predicted_sum, truth_sum = ops.unstack(sums, num=3)
    return overlap, predicted_sum - overlap, truth_sum - overlap


def overlap_and_sums(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """Return, of each foreground class, the sums of truth x prediction, prediction and truth: `(3, classes - 1)`.

    To be compiled: with few classes TensorFlow's own operations take a fifth of a small network's training step.
    """
    truth = _truth(labels, probabilities.shape[-1])[..., 1:]
    predicted = ops.cast(probabilities, "float32")[..., 1:]
    return ops.stack([ops.sum(maps, axis=(0, 1, 2, 3)) for maps in (truth * predicted, predicted, truth)])


def tversky_index(
    true_positives: KerasTensor,
    false_positives: KerasTensor,
    false_negatives: KerasTensor,
    alpha: KerasTensor | float = 0.5,
    beta: KerasTensor | float = 0.5,
) -> KerasTensor:
    """Return `TP / (TP + alpha FP + beta FN)`, elementwise (Tversky 1977; Salehi et al. 2017, equation 3).

    `alpha` penalises false positives, `beta` false negatives; at (0.5, 0.5) this is the Dice score. Where all
    three counts are zero the index is 0.
    """
    denominator = true_positives + alpha * false_positives + beta * false_negatives
    return true_positives / ops.maximum(denominator, keras.config.epsilon())


def tversky_loss(
    labels: KerasTensor, probabilities: KerasTensor, alpha: KerasTensor | float, beta: KerasTensor | float
) -> KerasTensor:
    """Return `1 - TI`, the mean over the foreground classes that the batch holds.

    A class that is absent from the batch takes no part: it neither rewards nor punishes. With no foreground
    at all the loss is 0.
    """
    tp, fp, fn = soft_counts(labels, probabilities)
    present = ops.cast(tp + fn > 0.5, "float32")  # tp + fn counts whole voxels
    losses = present * (1.0 - tversky_index(tp, fp, fn, alpha, beta))
    return ops.sum(losses) / ops.maximum(ops.sum(present), 1.0)


def cross_entropy(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    """Return the mean over all voxels of `-log p(true class)`, in nats."""
    return compiled(_mean_surprise)(labels, probabilities)


def _mean_surprise(labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
    truth = _truth(labels, probabilities.shape[-1])
    of_truth = ops.sum(truth * ops.cast(probabilities, "float32"), axis=-1)
    return -ops.mean(ops.log(ops.maximum(of_truth, keras.config.epsilon())))


def _truth(labels: KerasTensor, classes: int) -> KerasTensor:
    """Labels `(batch, x, y, z)` as 0 and 1, `(batch, x, y, z, classes)`; by comparison, which compiles to less."""
    indices = ops.cast(ops.expand_dims(labels, -1), "int32")
    return ops.cast(ops.equal(indices, ops.arange(classes, dtype="int32")), "float32")


@keras.saving.register_keras_serializable("kseg")
class ParametricTversky(keras.layers.Layer):
    """The Tversky loss whose penalties are learned: `(alpha, beta) = softmax(logits)` (Al Chanti et al., section 3).

    The logits start equal, alpha = beta = 0.5, the Dice loss, and are trained by the network's own optimiser. They
    are weights of a layer, not of a `keras.losses.Loss`, because Keras trains only what a model's layers own.
    With beta = 1 - alpha, `dL/dalpha = TP (FP - FN) / (TP + alpha FP + beta FN)^2`: descent moves weight away from
    the larger error.
    """

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
        alpha, beta = self._penalties()
        return tversky_loss(labels, probabilities, alpha, beta)

    def _penalties(self) -> list[KerasTensor]:
        if not self.built:
            self.build()
        return ops.unstack(ops.softmax(self.logits), num=2)


@keras.saving.register_keras_serializable("kseg")
class SegmentationLoss(keras.layers.Layer):
    """A weighted sum of losses; a weight of 0 leaves a term out.

    Args:
        parametric_tversky: weight of `ParametricTversky`.
        tversky: weight of the Tversky loss with fixed penalties.
        dice: weight of the Dice loss.
        cross_entropy: weight of the cross-entropy.
        alpha: penalty of false positives in `tversky`; false negatives get `1 - alpha`.
    """

    def __init__(
        self,
        parametric_tversky: float = 1.0,
        tversky: float = 0.0,
        dice: float = 0.0,
        cross_entropy: float = 0.0,
        alpha: float = 0.5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.weights_of_terms = {
            "parametric_tversky": parametric_tversky,
            "tversky": tversky,
            "dice": dice,
            "cross_entropy": cross_entropy,
        }
        self.alpha = alpha
        self.learned = ParametricTversky(name="parametric_tversky") if parametric_tversky else None

    def build(self, *input_shapes: Any) -> None:
        """Make the learned penalties, where they are part of the loss."""
        if self.learned is not None and not self.learned.built:
            self.learned.build()

    def call(self, labels: KerasTensor, probabilities: KerasTensor) -> KerasTensor:
        """Return the loss, a scalar, for labels `(batch, x, y, z)` and probabilities `(batch, x, y, z, classes)`."""
        terms: dict[str, Callable[[KerasTensor, KerasTensor], KerasTensor] | None] = {
            "parametric_tversky": self.learned,
            "tversky": lambda y, p: tversky_loss(y, p, self.alpha, 1.0 - self.alpha),
            "dice": lambda y, p: tversky_loss(y, p, 0.5, 0.5),
            "cross_entropy": cross_entropy,
        }
        weighted = [(weight, terms[name]) for name, weight in self.weights_of_terms.items()]
        return sum(weight * term(labels, probabilities) for weight, term in weighted if weight and term)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self.weights_of_terms, "alpha": self.alpha}
