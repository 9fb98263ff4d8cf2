"""How long a training waits for its input: a stopwatch around the last stage of a tf.data graph."""

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def python_timestamp() -> tf.Tensor:
    """Return the time as `tf.timestamp` does, which TensorFlow refuses where operations must be deterministic."""
    return tf.numpy_function(time.time, [], tf.float64)


class Stopwatch:
    """Adds up the time that whoever draws from `watch(dataset)` waits for an element.

    Args:
        timestamp: the time in seconds, as a tf.data graph has it.
    """

    def __init__(self, timestamp: Callable[[], tf.Tensor] = tf.timestamp) -> None:
        self.timestamp = timestamp
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def seconds(self) -> float:
        """Time waited so far."""
        return float(self._seconds)

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Return `dataset`, timed; what stands behind it, such as a prefetch, would hide the waiting."""
        clock = tf.data.Dataset.range(1).repeat().map(self._now)
        # Zipped parts are drawn from in turn: the time before the element, the element, the time after it.
        return tf.data.Dataset.zip(clock, dataset, clock).map(self._add)

    @tf.autograph.experimental.do_not_convert  # these are traced as they stand, which takes less time
    def _now(self, _: tf.Tensor) -> tf.Tensor:
        return self.timestamp()

    @tf.autograph.experimental.do_not_convert
    def _add(self, before: tf.Tensor, element: Any, after: tf.Tensor) -> Any:
        with tf.control_dependencies([self._seconds.assign_add(after - before)]):
            return tf.nest.map_structure(tf.identity, element)
