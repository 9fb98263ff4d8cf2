"""What ultrasound does to a patch `(x, y, z, channels)`: speckle, gain that varies with depth, and shadows.

All three multiply the echo, which is what a voxel has above the darkest one of its patch.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kseg.patches.augmentation.random_draws import split, uniform
from kseg.patches.augmentation.separable import spline_knots, spline_matrix
from kseg.recipe.augmentation import Augmentation

GAIN_KNOTS = 3  # of a gain curve, over the depth of a patch
MAX_TAPER = 0.5  # of a shadow, towards either end of its depth


def draw_speckle(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, Any]:
    """Return `std`, as a share of the echo, and the `seed` of the speckle."""
    seeds = split(seed, 2)
    return {"std": uniform(seeds[0], [], options.speckle_std), "seed": seeds[1]}


def speckle(image: tf.Tensor, std: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Multiply each echo by a Gaussian number of mean 1 and deviation `std`, never below 0."""
    return _echo_times(image, tf.nn.relu(1 + std * tf.random.stateless_normal(image.shape, seed)))


def draw_depth_gain(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, Any]:
    """Return `control`, the logarithms of a gain curve's control points, and the number of the depth's `axis`."""
    axis = "xyz".index(options.depth_axis)
    most = math.log(options.depth_gain_factor)
    control = most * uniform(seed, [spline_knots(shape[axis], _gain_spacing(shape[axis]))], (-1, 1))
    return {"control": control, "axis": axis}


def depth_gain(image: tf.Tensor, control: tf.Tensor, axis: int) -> tf.Tensor:
    """Multiply the echoes at each depth by a gain: the exponential of a cubic B-spline."""
    length = image.shape[axis]
    curve = tf.linalg.matvec(spline_matrix(length, _gain_spacing(length)), control)
    return _echo_times(image, tf.exp(_along(axis, curve)))


def draw_shadow(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, Any]:
    """Return the parameters of `shadow`; positions and widths are shares of the patch."""
    seeds = split(seed, 4)
    return {
        "darkness": uniform(seeds[0], [], options.shadow_darkness),
        "centre": uniform(seeds[1], [2], (0, 1)),
        "width": uniform(seeds[2], [2], options.shadow_width),
        "taper": uniform(seeds[3], [], (-MAX_TAPER, MAX_TAPER)),
        "axis": "xyz".index(options.depth_axis),
    }


def shadow(
    image: tf.Tensor, darkness: tf.Tensor, centre: tf.Tensor, width: tf.Tensor, taper: tf.Tensor, axis: int
) -> tf.Tensor:
    """Darken a wedge that runs through the whole depth, as what lies before the patch casts it.

    Args:
        image: `(x, y, z, channels)`.
        darkness: share of the echo that is missing in the middle of the shadow.
        centre: `(2,)`, where it is along the other two axes: 0 the first voxel, 1 the last.
        width: `(2,)`, the standard deviations of its Gaussian profile at half the depth, in the same unit.
        taper: share by which it is wider at the last depth, and narrower at the first.
        axis: number of the depth's axis.
    """
    place = {other: _along(other, tf.linspace(0.0, 1.0, image.shape[other])) for other in range(3)}
    spread = 1 + taper * (2 * place.pop(axis) - 1)
    profiles = [
        tf.exp(-0.5 * ((along - centre[number]) / (width[number] * spread)) ** 2)
        for number, along in enumerate(place.values())
    ]
    return _echo_times(image, 1 - darkness * profiles[0] * profiles[1])


def _echo_times(image: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    darkest = tf.reduce_min(image, (0, 1, 2))
    return darkest + factors * (image - darkest)


def _along(axis: int, values: tf.Tensor) -> tf.Tensor:
    """Lay values along an axis of `(x, y, z, channels)`."""
    return tf.reshape(values, [-1 if other == axis else 1 for other in range(4)])


def _gain_spacing(length: int) -> float:
    return max(length - 1, 1) / (GAIN_KNOTS - 1)
