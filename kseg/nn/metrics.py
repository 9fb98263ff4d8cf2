"""Dice, precision and recall of the foreground classes, counted voxel by voxel over all batches seen."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from kseg.nn.losses import mean_of_counted, overlap_and_sums, tversky_index
from kseg.nn.replicas import sum_over_replicas
from kseg.nn.xla_compiled import compiled
from kseg.volumes.regions import THRESHOLD, Members


@keras.saving.register_keras_serializable("kseg")
class SegmentationScores(keras.metrics.Metric):
    """Pooled scores of the predicted label map (the most probable class of each voxel), or of regions above one half.

    `result()` is a dictionary: `dice`, `precision`, `recall`, each the mean over the foreground classes seen so far,
    and `dice_<class>` of every one. A class that the truth does not hold scores 0 and is left out of the means of Dice
    and recall: one voxel too many of it would else take as much from `dice`, which chooses the best model, as all the
    voxels of another. The mean of precision counts it where it was predicted. `soft_fp` and `soft_fn` are what the
    Tversky losses weigh: false positives and false negatives as sums of probabilities, over all foreground classes,
    per voxel of true foreground.

    Args:
        class_names: names of the foreground classes, index 1 first.
        partly_labelled: voxels with a label of `classes` or more are left out (`kseg.nn.losses`).
        regions: class indices of each region; these then stand where else foreground classes do, by name, too.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        partly_labelled: bool = False,
        regions: Sequence[Sequence[int]] = (),
        name: str = "scores",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.class_names = tuple(class_names)
        self.partly_labelled = partly_labelled
        self.regions = tuple(map(tuple, regions))
        shape = (3, len(self.class_names))
        self.counts = self.add_weight(name="counts", shape=shape, initializer="zeros", dtype="float32")
        self.soft_sums = self.add_weight(name="soft_sums", shape=shape, initializer="zeros", dtype="float32")

    def update_state(self, labels: KerasTensor, probabilities: KerasTensor, sample_weight: None = None) -> None:
        """Count a batch: labels `(batch, x, y, z)`, probabilities `(batch, x, y, z, classes)`."""
        count = compiled(_count, partly_labelled=self.partly_labelled, regions=self.regions)
        hard, soft = ops.unstack(sum_over_replicas(count(labels, probabilities)), num=2)
        self.counts.assign_add(_errors(hard))
        self.soft_sums.assign_add(_errors(soft))

    def result(self) -> dict[str, KerasTensor]:
        """Return the scores of everything counted since the last reset."""
        tp, fp, fn = ops.unstack(ops.convert_to_tensor(self.counts), num=3)
        there = ops.cast(tp + fn > 0, "float32")
        seen = ops.cast(tp + fp + fn > 0, "float32")
        dice = tversky_index(tp, fp, fn)

        scores = {
            "dice": mean_of_counted(dice, there),
            "precision": mean_of_counted(tversky_index(tp, fp, fn, alpha=1.0, beta=0.0), seen),
            "recall": mean_of_counted(tversky_index(tp, fp, fn, alpha=0.0, beta=1.0), there),
        }
        soft_tp, soft_fp, soft_fn = ops.unstack(ops.sum(self.soft_sums, axis=1), num=3)
        foreground = ops.maximum(soft_tp + soft_fn, 1.0)
        scores |= {"soft_fp": soft_fp / foreground, "soft_fn": soft_fn / foreground}
        return scores | {
            f"dice_{name}": score
            for name, score in zip(self.class_names, ops.unstack(dice, num=len(self.class_names)), strict=True)
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"class_names": self.class_names, "partly_labelled": self.partly_labelled, "regions": self.regions}
        return {**super().get_config(), **own}


def _count(labels: KerasTensor, probabilities: KerasTensor, partly_labelled: bool, regions: Members) -> KerasTensor:
    """Sums over the most probable classes, and over the probabilities: `(2, 3, classes - 1)`."""
    if regions:
        predicted = ops.cast(probabilities > THRESHOLD, "float32")
    else:
        predicted = ops.one_hot(ops.argmax(probabilities, axis=-1), probabilities.shape[-1], dtype="float32")
    return ops.stack([overlap_and_sums(labels, maps, partly_labelled, regions) for maps in (predicted, probabilities)])


def _errors(sums: KerasTensor) -> KerasTensor:
    """True positives, false positives and false negatives from overlap, predicted and true sums, `(3, classes - 1)`."""
    overlap, predicted, truth = ops.unstack(sums, num=3)
    return ops.stack([overlap, predicted - overlap, truth - overlap])
