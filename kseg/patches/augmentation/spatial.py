"""Spatial transforms: flips are exact; affine and elastic become one map of points, and one resampling follows it.

Points are in voxels of the patch as it would have been cut unchanged: `point[p]` is where voxel `p` of the new patch
comes from. Rotations are about the patch's centre and in mm, so that voxels which are no cubes do not shear anatomy.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import tensorflow as tf

from kseg.patches.augmentation.random_draws import log_uniform, split, uniform
from kseg.patches.augmentation.separable import map_axes, spline_knots, spline_matrix
from kseg.recipe.augmentation import Augmentation


def draw_flips(flip_axes: Sequence[str], seed: tf.Tensor) -> tf.Tensor:
    """Return for each of x, y, z whether to flip it: even odds for `flip_axes`, never for the others."""
    allowed = tf.constant([axis in flip_axes for axis in "xyz"])
    return (tf.random.stateless_uniform([3], seed) < 0.5) & allowed


def flip(voxels: tf.Tensor, flips: tf.Tensor) -> tf.Tensor:
    """Reverse the axes of `voxels` `(x, y, z, ...)` that `flips` names."""
    rest = tf.zeros([tf.rank(voxels) - 3], tf.bool)
    flipped = tf.reverse(voxels, tf.where(tf.concat([flips, rest], axis=0))[:, 0])
    return tf.ensure_shape(flipped, voxels.shape)


def draw_affine(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `angles` about x, y, z in radians and `scales`, how many times larger the anatomy gets along them."""
    seeds = split(seed, 3)
    most = tf.constant(options.rotation_degrees, tf.float32) * (math.pi / 180)
    common = log_uniform(seeds[1], [], options.scaling)
    own = log_uniform(seeds[2], [3], (1 / options.stretch, options.stretch))
    return {"angles": uniform(seeds[0], [3], (-1, 1)) * most, "scales": common * own}


def draw_elastic(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, Any]:
    """Return `control` `(a, b, c, 3)`, how far a B-spline's control points push, and their `spacing`: both in voxels.

    The strength of a patch is anything up to `elastic_displacement`, each control point's within that.
    """
    seeds = split(seed, 2)
    controls = [spline_knots(length, options.elastic_spacing) for length in shape[:3]]
    strength = uniform(seeds[0], [], (0, options.elastic_displacement))
    control = strength * uniform(seeds[1], [*controls, 3], (-1, 1))
    return {"control": control, "spacing": options.elastic_spacing}


def affine_matrix(angles: tf.Tensor, scales: tf.Tensor, spacing_mm: tf.Tensor) -> tf.Tensor:
    """Return the matrix `(3, 3)` from a voxel of the patch to where it comes from, both counted from the centre.

    Rotates by `angles` (radians, right-handed, about x, then y, then z) and shrinks by `scales`: what is seen grows.
    """
    (cx, cy, cz), (sx, sy, sz) = tf.unstack(tf.cos(angles)), tf.unstack(tf.sin(angles))
    zero, one = tf.zeros([]), tf.ones([])
    about_x = tf.stack([[one, zero, zero], [zero, cx, -sx], [zero, sx, cx]])
    about_y = tf.stack([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]])
    about_z = tf.stack([[cz, -sz, zero], [sz, cz, zero], [zero, zero, one]])
    rotation = about_z @ about_y @ about_x
    return rotation * (spacing_mm / scales) / spacing_mm[:, tf.newaxis]


def affine_points(size: Sequence[int], matrix: tf.Tensor) -> tf.Tensor:
    """Return the points `(3, x, y, z)` of a patch of `size` that a matrix turns about its centre."""
    centre = [(length - 1) / 2 for length in size]
    x, y, z = (tf.range(length, dtype=tf.float32) - middle for length, middle in zip(size, centre, strict=True))
    return tf.stack(
        [
            (row[0] * x + middle)[:, tf.newaxis, tf.newaxis] + ((row[1] * y)[:, tf.newaxis] + row[2] * z)
            for row, middle in zip(tf.unstack(matrix), centre, strict=True)
        ]
    )


def elastic_shift(size: Sequence[int], matrix: tf.Tensor, control: tf.Tensor, spacing: float) -> tf.Tensor:
    """Return what is added to the points of `matrix` `(3, x, y, z)`: the patch is pushed first, then turned."""
    turned = tf.tensordot(control, matrix, [[3], [1]])
    return map_axes(turned, [spline_matrix(length, spacing) for length in size])


def resample_patch(image: tf.Tensor, labels: tf.Tensor, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Read an image `(x', y', z', channels)` linearly and labels `(x', y', z')` at the nearest voxel.

    Args:
        image: float32.
        labels: of the same grid.
        points: `(3, x, y, z)`, voxels of that grid, at least 0 and below its last voxel in each axis.

    Returns:
        `(x, y, z, channels)` and `(x, y, z)`.
    """
    size = tf.shape(labels)
    strides = (size[1] * size[2], size[2], 1)
    floors = tf.floor(points)
    corners = tf.unstack(tf.cast(floors, tf.int32))
    corner = corners[0] * strides[0] + corners[1] * strides[1] + corners[2]
    shares = tf.unstack(points - floors)
    nearer = (tf.cast(share >= 0.5, tf.int32) * stride for share, stride in zip(shares, strides, strict=True))
    nearest = tf.gather(tf.reshape(labels, [-1]), corner + sum(nearer))

    # Whole rows of neighbours would be read in one go, but building them costs four times what eight reads cost.
    voxels = tf.reshape(image, [-1, image.shape[-1]])
    steps = [dx * strides[0] + dy * strides[1] + dz for dx, dy, dz in product((0, 1), repeat=3)]
    values = [tf.gather(voxels, corner + step) for step in steps]
    for share in reversed(shares):  # z, y, x: neighbours along the last axis stand side by side
        weight = share[..., tf.newaxis]
        values = [low + weight * (high - low) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0], nearest
