"""Augmentation: what is drawn for a patch stands apart from how it is applied."""

from collections.abc import Sequence

import tensorflow as tf

AXES = ("x", "y", "z")


def draw_flips(flip_axes: Sequence[str], seed: tf.Tensor) -> tf.Tensor:
    """Return for each of x, y, z whether to flip it: even odds for `flip_axes`, never for the others."""
    allowed = tf.constant([axis in flip_axes for axis in AXES])
    return (tf.random.stateless_uniform([3], seed) < 0.5) & allowed


def flip(voxels: tf.Tensor, flips: tf.Tensor) -> tf.Tensor:
    """Reverse the axes of `voxels` `(x, y, z, ...)` that `flips` names."""
    rest = tf.zeros([tf.rank(voxels) - 3], tf.bool)
    flipped = tf.reverse(voxels, tf.where(tf.concat([flips, rest], axis=0))[:, 0])
    return tf.ensure_shape(flipped, voxels.shape)
