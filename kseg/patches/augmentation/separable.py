"""Linear maps that work axis by axis: a matrix for each axis, so that each costs one matrix product.

On patches a dense matrix product is several times faster than a convolution along an axis, whatever the kernel's width.
Blur, coarser voxels and splines all are such maps.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def map_axes(voxels: tf.Tensor, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiply x, y and z of `voxels` `(x, y, z, channels)` by a matrix `(new, old)` each.

    Returns:
        `(channels, new x, new y, new z)`: each product takes the first axis and puts its result last.
    """
    for matrix in matrices:
        new, old = matrix.shape
        flat = tf.reshape(voxels, [old, -1])
        mapped = tf.matmul(flat, matrix, transpose_a=True, transpose_b=True)
        voxels = tf.reshape(mapped, [*voxels.shape[1:], new])
    return voxels


def smooth(image: tf.Tensor, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiply x, y and z of `image` `(x, y, z, channels)` by a square matrix each; the shape stays."""
    return tf.transpose(map_axes(image, matrices), [1, 2, 3, 0])


def gaussian_matrix(length: int, sigma: tf.Tensor) -> tf.Tensor:
    """Return the matrix `(length, length)` of a Gaussian mean; weights beyond the ends are shared by those within.

    `sigma` is the standard deviation in voxels.
    """
    voxel = tf.range(length, dtype=tf.float32)
    return _mean(tf.exp(-0.5 * ((voxel[:, tf.newaxis] - voxel) / sigma) ** 2))


def coarse_matrix(length: int, factor: tf.Tensor) -> tf.Tensor:
    """Return the matrix `(length, length)` that sees an axis as voxels `factor` (1 or more) times longer would show it.

    Coarse voxels lie from the axis' beginning on; each is the mean of what it covers, and between their centres the
    result is linear. The last one may be cut short by the end of the axis.
    """
    first = tf.range(length, dtype=tf.float32)
    coarse_first = first * factor
    coarse_first_column = coarse_first[:, tf.newaxis]
    covered = tf.minimum(coarse_first_column + factor, first + 1) - tf.maximum(coarse_first_column, first)
    down = _mean(tf.nn.relu(covered))  # rows of coarse voxels beyond the end are zero
    distance = tf.abs((first[:, tf.newaxis] + 0.5) - (coarse_first + factor / 2)) / factor
    return _mean(tf.matmul(tf.nn.relu(1 - distance), down))


def spline_knots(length: int, spacing: float) -> int:
    """Return how many control points a cubic B-spline over `length` voxels has, `spacing` voxels apart."""
    return int(np.ceil((length - 1) / spacing)) + 3


def spline_matrix(length: int, spacing: float) -> tf.Tensor:
    """Return the matrix `(length, control points)` of a uniform cubic B-spline at voxels 0, 1 ... `length - 1`.

    Weights are positive and add up to 1: no voxel is moved further than its control points. The first control point
    lies a spacing before voxel 0.
    """
    from scipy.interpolate import BSpline

    controls = spline_knots(length, spacing)
    knots = (np.arange(controls + 4) - 3) * spacing
    weights = BSpline.design_matrix(np.arange(length, dtype=float), knots, 3).toarray()
    return tf.constant(weights, tf.float32)


def _mean(weights: tf.Tensor) -> tf.Tensor:
    """Scale the weights of each row so that they add up to 1."""
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
