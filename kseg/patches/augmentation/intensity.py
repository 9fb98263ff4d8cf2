"""Changes of intensity of a normalised patch `(x, y, z, channels)`: each is drawn, then applied; labels stay.

A volume is normalised to mean 0 and deviation 1, so noise and brightness are measured in its deviations.
"""

from collections.abc import Sequence

import tensorflow as tf

from kseg.patches.augmentation.random_draws import log_uniform, split, uniform
from kseg.patches.augmentation.separable import coarse_matrix, gaussian_matrix, smooth
from kseg.recipe.augmentation import Augmentation

SPACE = (0, 1, 2)
TINY = 1e-6


def draw_gamma(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `exponents` `(channels,)`."""
    return {"exponents": log_uniform(seed, shape[3:], options.gamma_range)}


def gamma(image: tf.Tensor, exponents: tf.Tensor) -> tf.Tensor:
    """Bend the grey values between the patch's least and greatest by a power; its mean and deviation stay.

    Without the last step, mean and deviation would tell the network of the augmentation (so does nnU-Net).
    """
    low, high = _range(image)
    unit = (image - low) / tf.maximum(high - low, TINY)
    bent = tf.exp(exponents * tf.math.log(tf.maximum(unit, TINY)))  # tf.pow takes five times as long
    mean, variance = tf.nn.moments(image, SPACE)
    bent_mean, bent_variance = tf.nn.moments(bent, SPACE)
    return (bent - bent_mean) * tf.sqrt(tf.math.divide_no_nan(variance, bent_variance)) + mean


def draw_contrast(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `factors` `(channels,)`."""
    return {"factors": log_uniform(seed, shape[3:], options.contrast_range)}


def contrast(image: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Stretch the grey values about the patch's mean, within the range that it had."""
    mean = tf.reduce_mean(image, SPACE)
    low, high = _range(image)
    return tf.clip_by_value(mean + factors * (image - mean), low, high)


def draw_brightness(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `shifts` `(channels,)`, in deviations of the volume."""
    return {"shifts": uniform(seed, shape[3:], (-options.brightness_shift, options.brightness_shift))}


def brightness(image: tf.Tensor, shifts: tf.Tensor) -> tf.Tensor:
    """Add a constant to each channel."""
    return image + shifts


def draw_noise(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `std`, in deviations of the volume, and the `seed` of the noise."""
    seeds = split(seed, 2)
    return {"std": uniform(seeds[0], [], options.noise_std), "seed": seeds[1]}


def noise(image: tf.Tensor, std: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add Gaussian noise, independent from voxel to voxel."""
    return image + std * tf.random.stateless_normal(image.shape, seed)


def draw_blur(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `sigma`, in voxels."""
    return {"sigma": uniform(seed, [], options.blur_sigma)}


def blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Blur by a Gaussian of standard deviation `sigma` voxels; at the borders, by the part of it that lies inside."""
    return smooth(image, [gaussian_matrix(length, sigma) for length in image.shape[:3]])


def draw_low_resolution(options: Augmentation, shape: Sequence[int], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return `factor`, how many times longer the voxels get."""
    return {"factor": log_uniform(seed, [], options.low_resolution_factor)}


def low_resolution(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Average over voxels `factor` times longer, and interpolate linearly between these."""
    return smooth(image, [coarse_matrix(length, factor) for length in image.shape[:3]])


def _range(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reduce_min(image, SPACE), tf.reduce_max(image, SPACE)
