"""A SavedModel with the signatures of kseg's, whose labels are known beforehand, and its reference in NumPy."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

CODES = {"float32": 1, "uint8": 2, "int16": 3, "uint16": 4}
"""Label of the background by the type of voxels that a signature takes: it tells which signature was asked."""
REFUSED = 13
"""Voxels along x that the model refuses."""


def expected(volume: np.ndarray, spacing_mm: Sequence[float], sent_as: str, bright: int = 200) -> np.ndarray:
    """Return the labels of a volume `(x, y, z)` or `(x, y, z, channels)` in RAS+ order."""
    first = volume if volume.ndim == 3 else volume[..., 0]
    labels = np.full(first.shape, CODES[sent_as], np.int64)
    labels[:, 0] = 100
    labels[:, :, 0] = 150
    labels[first > np.dot([100, 10, 1], np.float32(spacing_mm))] = bright
    return labels


def write_model(
    folder: Path,
    types: Sequence[str] = tuple(CODES),
    channels: int | None = 1,
    labels_type: str = "uint8",
    bright: int = 200,
    voxel_axes: int = 5,
    turned: bool = False,
    name: str = "segment",
) -> Path:
    """Write version 1 of a model.

    Args:
        folder: of the model.
        types: of voxels, for each of which there is a signature.
        channels: that it takes; None for any number.
        labels_type: of its labels.
        bright: label of what is brighter than 100 times the spacing along x, and so on.
        voxel_axes: 5, unless the model is to be a wrong one.
        turned: exchange x and z of the labels, another way to be wrong.
        name: of the signature for float32, and the beginning of the others'.
    """
    module = tf.Module()
    module.functions = {
        name if dtype == "float32" else f"{name}_{dtype}": _function(
            dtype, channels, labels_type, bright, voxel_axes, turned
        )
        for dtype in types
    }
    tf.saved_model.save(module, str(folder / "1"), signatures=dict(module.functions))
    return folder


def _function(
    dtype: str, channels: int | None, labels_type: str, bright: int, voxel_axes: int, turned: bool
) -> Callable:
    voxels_spec = tf.TensorSpec((*[None] * (voxel_axes - 1), channels), dtype, name="voxels")
    spacing_spec = tf.TensorSpec((None, 3), tf.float32, name="spacing_mm")

    def value(number: int) -> tf.Tensor:
        return tf.constant(number, labels_type)

    @tf.function(input_signature=[voxels_spec, spacing_spec], autograph=False)
    def segment(voxels: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        if voxel_axes != 5:
            return {"labels": tf.zeros(tf.shape(voxels)[:-1], labels_type)}
        shape = tf.shape(voxels)
        refuse = tf.debugging.assert_none_equal(shape[1], REFUSED, message=f"no volume of {REFUSED} planes, please")
        with tf.control_dependencies([refuse]):
            threshold = tf.linalg.matvec(spacing_mm, tf.constant([100.0, 10.0, 1.0]))[:, None, None, None]
        if dtype != "float32":
            threshold = tf.cast(tf.floor(threshold), dtype)
        first_y, first_z = (tf.range(shape[axis]) == 0 for axis in (2, 3))
        faces = tf.where(first_z, value(150), tf.where(first_y[:, None], value(100), value(CODES[dtype])))
        labels = tf.where(voxels[..., 0] > threshold, value(bright), faces)
        return {"labels": tf.transpose(labels, (0, 3, 2, 1)) if turned else labels}

    return segment
