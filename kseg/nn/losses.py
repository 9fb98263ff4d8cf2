"""Losses for badly imbalanced classes, on soft sums over the whole batch; pure functions.

Labels are indices `(batch, x, y, z)`, 0 the background; probabilities `(batch, x, y, z, classes)`. Sums run over
batch and space and over all replicas, so that N replicas of batch 1 give what one replica of batch N gives.

With `partly_labelled` a voxel whose label is `classes` or more is one that nobody labelled: it is left out, as if it
had been cut out of the batch. Without, which is faster, there must be none.

With `regions`, the class indices of each, probabilities are `(batch, x, y, z, regions)`, without one of the background:
each region against the rest is a problem of its own, and stands where else a foreground class does. Every class but the
background is in one region or more, so that `classes` is one more than the highest index.
"""

import keras
from keras import KerasTensor, ops

from kseg.nn.replicas import sum_over_replicas
from kseg.nn.xla_compiled import compiled
from kseg.volumes.regions import Members, marks


def soft_counts(
    labels: KerasTensor, probabilities: KerasTensor, partly_labelled: bool = False, regions: Members = ()
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Return soft true positives, false positives and false negatives of each foreground class, `(classes - 1,)`.

    Sums are float32 whatever the input's dtype: half precision cannot count the voxels of a patch.
    """
    count = compiled(overlap_and_sums, partly_labelled=partly_labelled, regions=regions)
    sums = sum_over_replicas(count(labels, probabilities))
    overlap, predicted_sum, truth_sum = ops.unstack(sums, num=3)
    return overlap, predicted_sum - overlap, truth_sum - overlap


def overlap_and_sums(
    labels: KerasTensor, probabilities: KerasTensor, partly_labelled: bool = False, regions: Members = ()
) -> KerasTensor:
    """Return, of each foreground class, the sums of truth x prediction, prediction and truth: `(3, classes - 1)`.

    To be compiled: with few classes TensorFlow's own operations take a fifth of a small network's training step.
    """
    truth, predicted = _truth(labels, probabilities.shape[-1], regions), ops.cast(probabilities, "float32")
    if not regions:
        truth, predicted = truth[..., 1:], predicted[..., 1:]
    if partly_labelled:
        predicted = predicted * ops.expand_dims(_labelled(labels, probabilities, regions), -1)
    return ops.stack([ops.sum(maps, axis=(0, 1, 2, 3)) for maps in (truth * predicted, predicted, truth)])


def tversky_index(
    true_positives: KerasTensor,
    false_positives: KerasTensor,
    false_negatives: KerasTensor,
    alpha: KerasTensor | float = 0.5,
    beta: KerasTensor | float = 0.5,
) -> KerasTensor:
    """Return `TP / (TP + alpha FP + beta FN)`, elementwise (Tversky 1977; Salehi et al. 2017, equation 3).

    Args:
        true_positives: voxels, or sums of probabilities, in truth and prediction: a number, or a tensor of any shape.
        false_positives: those in the prediction alone; of the same shape.
        false_negatives: those in the truth alone; of the same shape.
        alpha: penalty of false positives.
        beta: penalty of false negatives.

    Returns:
        Indices between 0 and 1, float32, of the same shape. At `alpha = beta = 0.5` they are Dice scores, at (1, 0)
        precision, at (0, 1) recall. Where all three counts are zero the index is 0.

    Example:
        A muscle of 12 voxels, 6 of them found, and 2 voxels beside it taken for muscle:

        >>> import kseg
        >>> for alpha, beta in [(0.5, 0.5), (1, 0), (0, 1)]:  # 6/(6+1+3), 6/(6+2), 6/(6+6)
        ...     print(f"{float(kseg.tversky_index(6.0, 2.0, 6.0, alpha, beta)):.2f}")
        0.60
        0.75
        0.50
    """
    denominator = true_positives + alpha * false_positives + beta * false_negatives
    return true_positives / ops.maximum(denominator, keras.config.epsilon())


def tversky_loss(
    labels: KerasTensor,
    probabilities: KerasTensor,
    alpha: KerasTensor | float,
    beta: KerasTensor | float,
    partly_labelled: bool = False,
    regions: Members = (),
) -> KerasTensor:
    """Return `1 - TI`, the mean over the foreground classes that the batch holds.

    A class that is absent from the batch takes no part: it neither rewards nor punishes. With no foreground
    at all the loss is 0.
    """
    index, present = _index_of_present(labels, probabilities, alpha, beta, partly_labelled, regions)
    return mean_of_counted(1.0 - index, present)


def focal_tversky_loss(
    labels: KerasTensor,
    probabilities: KerasTensor,
    alpha: KerasTensor | float,
    beta: KerasTensor | float,
    gamma: float = 4 / 3,
    partly_labelled: bool = False,
    regions: Members = (),
) -> KerasTensor:
    """Return `(1 - TI)^(1 / gamma)`, the mean over the foreground classes that the batch holds.

    With gamma above 1 classes that are segmented well keep pulling (Abraham and Khan, ISBI 2019, equation 4; gamma 4/3
    there). Its slope is infinite at a perfect class, and bounded here below a loss of 1e-4.
    """
    index, present = _index_of_present(labels, probabilities, alpha, beta, partly_labelled, regions)
    return mean_of_counted(ops.maximum(1.0 - index, 1e-4) ** (1.0 / gamma), present)


def mean_of_counted(values: KerasTensor, counted: KerasTensor) -> KerasTensor:
    """Return the mean of the `values` that are `counted` (1, others 0); 0 where none is."""
    return ops.sum(counted * values) / ops.maximum(ops.sum(counted), 1.0)


def _index_of_present(
    labels: KerasTensor,
    probabilities: KerasTensor,
    alpha: KerasTensor | float,
    beta: KerasTensor | float,
    partly_labelled: bool,
    regions: Members,
) -> tuple[KerasTensor, KerasTensor]:
    """The Tversky index of each foreground class, and 1 for those that the batch holds, 0 for the others."""
    tp, fp, fn = soft_counts(labels, probabilities, partly_labelled, regions)
    present = ops.cast(tp + fn > 0.5, "float32")  # tp + fn counts whole voxels
    return tversky_index(tp, fp, fn, alpha, beta), present


def cross_entropy(
    labels: KerasTensor, probabilities: KerasTensor, partly_labelled: bool = False, regions: Members = ()
) -> KerasTensor:
    """Return the mean over all voxels of `-log p(true class)`, in nats; 0 where `partly_labelled` leaves none.

    With `regions` it is the mean over these, too: of `-log p` inside each, of `-log(1 - p)` outside.
    """
    if not partly_labelled:
        return compiled(_mean_surprise, regions=regions)(labels, probabilities)
    sums = sum_over_replicas(compiled(_labelled_surprise, regions=regions)(labels, probabilities))
    surprise, voxels = ops.unstack(sums, num=2)
    return surprise / ops.maximum(voxels, 1.0)


def classes_of(probabilities: KerasTensor, regions: Members = ()) -> int:
    """Return how many classes labels have, the background included; a label of as many or more is nobody's."""
    return 1 + max(map(max, regions)) if regions else probabilities.shape[-1]


def _mean_surprise(labels: KerasTensor, probabilities: KerasTensor, regions: Members) -> KerasTensor:
    return ops.mean(_surprise(labels, probabilities, regions))


def _labelled_surprise(labels: KerasTensor, probabilities: KerasTensor, regions: Members) -> KerasTensor:
    """Sum over the labelled voxels, and their number: `(2,)`."""
    labelled = _labelled(labels, probabilities, regions)
    return ops.stack([ops.sum(labelled * _surprise(labels, probabilities, regions)), ops.sum(labelled)])


def _surprise(labels: KerasTensor, probabilities: KerasTensor, regions: Members) -> KerasTensor:
    """Of each voxel `(batch, x, y, z)`, in nats."""
    truth, likely = _truth(labels, probabilities.shape[-1], regions), ops.cast(probabilities, "float32")
    if regions:
        of_truth = truth * likely + (1.0 - truth) * (1.0 - likely)
        return ops.mean(-ops.log(ops.maximum(of_truth, keras.config.epsilon())), axis=-1)
    return -ops.log(ops.maximum(ops.sum(truth * likely, axis=-1), keras.config.epsilon()))


def _labelled(labels: KerasTensor, probabilities: KerasTensor, regions: Members) -> KerasTensor:
    """1 where somebody labelled a voxel, 0 elsewhere: `(batch, x, y, z)`."""
    return ops.cast(ops.less(ops.cast(labels, "int32"), classes_of(probabilities, regions)), "float32")


def _truth(labels: KerasTensor, classes: int, regions: Members) -> KerasTensor:
    """Labels `(batch, x, y, z)` as 0 and 1, `(batch, x, y, z, classes)`; by comparison, which compiles to less.

    With `regions` it is these that are last, `(batch, x, y, z, regions)`.
    """
    if regions:
        indices = ops.cast(labels, "int32")
        return ops.cast(ops.stack([marks(indices, members) for members in regions], axis=-1), "float32")
    indices = ops.cast(ops.expand_dims(labels, -1), "int32")
    return ops.cast(ops.equal(indices, ops.arange(classes, dtype="int32")), "float32")
