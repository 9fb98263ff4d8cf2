"""Cutting patches out of a record's bytes: only the planes that a patch touches are decoded.

These are tf.data graphs over a parsed record (`kseg.records.schema.parse`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kseg.records.intensity import Scale, normalise
from kseg.records.schema import DTYPES


def crop(
    example: dict[str, Any],
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
    shape = example["shape"][:3]
    low = tf.clip_by_value(start, 0, shape)
    high = tf.clip_by_value(start + size, low, shape)
    before = tf.clip_by_value(low - start, 0, size)
    padding = tf.stack([before, size - before - (high - low)], axis=1)

    def decode_as(dtype: str) -> Callable[[], tf.Tensor]:
        return lambda: tf.cast(_decode(example["image"], dtype, example["shape"], low, high), tf.float32)

    image = tf.switch_case(tf.cast(example["dtype"], tf.int32), [decode_as(dtype) for dtype in DTYPES])
    image = normalise(image, example["statistics"], scales, tf)
    image = tf.pad(image, tf.concat([padding, [[0, 0]]], axis=0))
    labels = _decode(example["labels"], label_dtype, tf.concat([shape, [1]], axis=0), low, high)
    labels = tf.pad(labels[..., 0], padding)
    known = (None, None, None) if tf.is_tensor(patch_size) else tuple(patch_size)
    return tf.ensure_shape(image, (*known, channels)), tf.ensure_shape(labels, known)


def label_plane(example: dict[str, Any], x: tf.Tensor, label_dtype: str) -> tf.Tensor:
    """Return the class indices `(y, z)` of plane `x`."""
    shape = tf.concat([example["shape"][:3], [1]], axis=0)
    low, high = tf.stack([x, 0, 0]), tf.stack([x + 1, shape[1], shape[2]])
    return _decode(example["labels"], label_dtype, shape, low, high)[0, ..., 0]


def _decode(voxels: tf.Tensor, dtype: str, shape: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Decode the box `low` to `high` of a volume `(x, y, z, channels)` in bytes; planes outside it are not read."""
    plane_bytes = tf.reduce_prod(shape[1:]) * tf.as_dtype(dtype).size
    planes = high[0] - low[0]
    slab = tf.strings.substr(voxels, low[0] * plane_bytes, planes * plane_bytes)
    slab = tf.reshape(tf.io.decode_raw(slab, tf.as_dtype(dtype)), tf.concat([[planes], shape[1:]], axis=0))
    return slab[:, low[1] : high[1], low[2] : high[2]]
