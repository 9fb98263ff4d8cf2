"""One patch: where it lies is drawn, it is cut, and for training it is warped, flipped and its intensities are changed.

These are tf.data graphs over the head of a case (`kseg.patches.shards.read_head`); everything follows from a seed of
two integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from kseg.patches.augmentation.chain import SPATIAL, Drawn, change_intensities, draw, warped_points, warps
from kseg.patches.augmentation.spatial import draw_flips, flip, resample_patch
from kseg.patches.crop import crop
from kseg.patches.sampling import draw_start
from kseg.patches.shards import Head
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.sections import Patches
from kseg.volumes.intensity_normalisation import Scale

Patch = tuple[tf.Tensor, tf.Tensor]
"""The normalised image `(x, y, z, channels)`, float32, and the labels `(x, y, z)`."""


@dataclass(frozen=True)
class PatchCutter:
    """Cuts patches of a dataset's cases.

    `options` is the recipe's section; `channels`, `label_dtype` and the channels' `scales` are the dataset's. Without
    `augmentation` patches are neither flipped nor changed: validation sees what there is.
    """

    options: Patches
    augmentation: Augmentation | None
    channels: int
    label_dtype: str
    scales: tuple[Scale, ...] = ()

    @tf.autograph.experimental.do_not_convert  # it is traced as it stands, in half the time
    def __call__(self, head: Head, seed: tf.Tensor) -> Patch:
        """Cut the patch of a seed from a case."""
        seeds = tf.random.experimental.stateless_split(seed, 3)
        oversampling = self.options.foreground_oversampling
        start = draw_start(head, self.options.size, oversampling, self.label_dtype, seeds[0])
        if self.augmentation is None:
            return self._cut(head, start, self.options.size)
        flips = draw_flips(self.options.flip_axes, seeds[1])
        drawn = draw(self.augmentation, (*self.options.size, self.channels), seeds[2])
        image, labels = self._warp_or_cut(head, start, drawn)
        return change_intensities(flip(image, flips), drawn), flip(labels, flips)

    def _cut(self, head: Head, start: tf.Tensor, size: Sequence[int] | tf.Tensor) -> Patch:
        return crop(head, start, size, self.channels, self.label_dtype, self.scales)

    def _warp_or_cut(self, head: Head, start: tf.Tensor, drawn: dict[str, Drawn]) -> Patch:
        size = self.options.size
        if SPATIAL.keys().isdisjoint(drawn):
            return self._cut(head, start, size)
        image, labels = tf.cond(
            warps(drawn),
            lambda: self._warp(head, start, warped_points(drawn, size, head["spacing_mm"])),
            lambda: self._cut(head, start, size),
        )
        return tf.ensure_shape(image, (*size, self.channels)), tf.ensure_shape(labels, size)

    def _warp(self, head: Head, start: tf.Tensor, points: tf.Tensor) -> Patch:
        """Cut the box that holds all points `(3, x, y, z)`, and read the patch from it, so that no corner is empty."""
        low = tf.floor(tf.reduce_min(points, (1, 2, 3)))
        end = tf.floor(tf.reduce_max(points, (1, 2, 3))) + 3  # linear reading needs the next voxel, rounding one more
        image, labels = self._cut(head, start + tf.cast(low, tf.int64), tf.cast(end - low, tf.int64))
        return resample_patch(image, labels, points - low[:, tf.newaxis, tf.newaxis, tf.newaxis])
