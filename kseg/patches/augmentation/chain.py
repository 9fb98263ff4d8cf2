"""The transforms that a recipe turns on: what is drawn for a patch, and intensities changed as drawn.

A transform's name is the recipe's key that holds its probability.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from kseg.patches.augmentation import intensity, spatial, ultrasound
from kseg.patches.augmentation.random_draws import happens, split
from kseg.recipe.augmentation import Augmentation

Draw = Callable[[Augmentation, Sequence[int], tf.Tensor], dict[str, Any]]
Apply = Callable[..., tf.Tensor]

SPATIAL: dict[str, Draw] = {"affine": spatial.draw_affine, "elastic": spatial.draw_elastic}

# In the order in which an image comes about: echoes, optics and sampling, the receiver's noise, then the display.
INTENSITY: dict[str, tuple[Draw, Apply]] = {
    "speckle": (ultrasound.draw_speckle, ultrasound.speckle),
    "depth_gain": (ultrasound.draw_depth_gain, ultrasound.depth_gain),
    "shadow": (ultrasound.draw_shadow, ultrasound.shadow),
    "blur": (intensity.draw_blur, intensity.blur),
    "low_resolution": (intensity.draw_low_resolution, intensity.low_resolution),
    "noise": (intensity.draw_noise, intensity.noise),
    "brightness": (intensity.draw_brightness, intensity.brightness),
    "contrast": (intensity.draw_contrast, intensity.contrast),
    "gamma": (intensity.draw_gamma, intensity.gamma),
}
TRANSFORMS = (*SPATIAL, *INTENSITY)


class Drawn(NamedTuple):
    """What was drawn for one transform: whether it happens, and the arguments it is applied with if so."""

    happens: tf.Tensor
    arguments: dict[str, Any]


def draw(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, Drawn]:
    """Draw each transform whose probability is above 0, for a patch of `shape` `(x, y, z, channels)`.

    A transform's draws follow from the seed and its place in the chain: turning others on or off changes none of them.
    """
    draws = SPATIAL | {name: draw for name, (draw, _) in INTENSITY.items()}
    drawn = {}
    for number, (name, draw) in enumerate(draws.items()):
        probability = getattr(options, name)
        if probability > 0:
            seeds = split(tf.random.experimental.stateless_fold_in(seed, tf.cast(number, seed.dtype)), 2)
            drawn[name] = Drawn(happens(seeds[0], probability), draw(options, shape, seeds[1]))
    return drawn


def warps(drawn: dict[str, Drawn]) -> tf.Tensor:
    """Return whether any spatial transform happens."""
    return tf.reduce_any([drawn[name].happens for name in SPATIAL if name in drawn])


def warped_points(drawn: dict[str, Drawn], size: Sequence[int], spacing_mm: tf.Tensor) -> tf.Tensor:
    """Return the points `(3, x, y, z)` of the drawn affine and elastic transforms, composed; see `spatial`."""
    matrix = tf.eye(3)
    if "affine" in drawn:
        turned = spatial.affine_matrix(**drawn["affine"].arguments, spacing_mm=spacing_mm)
        matrix = tf.where(drawn["affine"].happens, turned, matrix)
    points = spatial.affine_points(size, matrix)
    if "elastic" in drawn:
        pushed, arguments = drawn["elastic"]
        shift = partial(spatial.elastic_shift, size, matrix, **arguments)
        points = tf.cond(pushed, lambda: points + shift(), lambda: points)
    return points


def change_intensities(image: tf.Tensor, drawn: dict[str, Drawn]) -> tf.Tensor:
    """Apply the drawn changes of intensity to a patch `(x, y, z, channels)`; what does not happen costs nothing."""
    for name, (_, apply) in INTENSITY.items():
        if name in drawn:
            image = _apply_if(drawn[name], apply, image)
    return image


def _apply_if(drawn: Drawn, apply: Apply, image: tf.Tensor) -> tf.Tensor:
    changed = tf.cond(drawn.happens, lambda: apply(image, **drawn.arguments), lambda: image)
    return tf.ensure_shape(changed, image.shape)
