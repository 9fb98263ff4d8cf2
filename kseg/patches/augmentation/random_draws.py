"""Random numbers for augmentation: stateless, so that the same seed of two integers gives the same numbers."""

import math
from collections.abc import Sequence

import tensorflow as tf


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Return `count` independent seeds that follow from one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count))


def happens(seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Return a boolean that is true with the given probability."""
    return tf.random.stateless_uniform([], seed) < probability


def uniform(seed: tf.Tensor, shape: Sequence[int], bounds: tuple[float, float]) -> tf.Tensor:
    """Return float32 numbers, each as likely anywhere between the bounds."""
    return tf.random.stateless_uniform(shape, seed, *bounds)


def log_uniform(seed: tf.Tensor, shape: Sequence[int], bounds: tuple[float, float]) -> tf.Tensor:
    """Return positive factors whose logarithm is uniform: between 1/2 and 2, halves are as likely as doubles."""
    low, high = bounds
    return tf.exp(uniform(seed, shape, (math.log(low), math.log(high))))
