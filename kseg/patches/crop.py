"""Cutting a patch out of a case: only the bricks that it touches are read.

These are tf.data graphs over the head of a case (`kseg.patches.shards.read_head`).
"""

from collections.abc import Sequence

import tensorflow as tf

from kseg.patches.shards import Head, read_box
from kseg.volumes.intensity_normalisation import Scale, normalise


def crop(
    head: Head,
    start: tf.Tensor,
    patch_size: Sequence[int] | tf.Tensor,
    channels: int,
    label_dtype: str,
    scales: Sequence[Scale] = (),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut the patch that starts at voxel `start` `(x, y, z)`; outside the volume it is zero and background.

    A size known only as a tensor leaves the returned shapes open.

    Returns:
        The normalised image `(x, y, z, channels)`, float32, and the labels `(x, y, z)`.
    """
    size = tf.cast(patch_size, tf.int64)
    shape = head["shape"][:3]
    low = tf.clip_by_value(start, 0, shape)
    high = tf.clip_by_value(start + size, low, shape)
    before = tf.clip_by_value(low - start, 0, size)
    padding = tf.stack([before, size - before - (high - low)], axis=1)
    image, labels = read_box(head, low, high, label_dtype)
    image = normalise(image, head["statistics"], scales, tf)
    image = tf.pad(image, tf.concat([padding, [[0, 0]]], axis=0))
    labels = tf.pad(labels, padding)
    known = (None, None, None) if tf.is_tensor(patch_size) else tuple(patch_size)
    return tf.ensure_shape(image, (*known, channels)), tf.ensure_shape(labels, known)
