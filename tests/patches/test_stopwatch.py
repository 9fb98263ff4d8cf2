"""The stopwatch changes no element, and waits as long as the slow part does, wherever that is."""

import time

import numpy as np
import tensorflow as tf

from kseg.patches.stopwatch import Stopwatch

PAUSE_S = 0.05


def slow(value):
    time.sleep(PAUSE_S)
    return value


def test_it_counts_the_waiting_for_a_slow_input_and_changes_nothing():
    source = tf.data.Dataset.range(6).map(lambda n: (tf.numpy_function(slow, [n], tf.int64), 2 * n))
    stopwatch = Stopwatch()
    drawn = [(int(a), int(b)) for a, b in stopwatch.watch(source.prefetch(2))]
    assert drawn == [(n, 2 * n) for n in range(6)]
    assert stopwatch.seconds > 5 * PAUSE_S  # never less than the pauses, however busy the machine is


def test_work_between_elements_is_not_waiting():
    stopwatch = Stopwatch()
    dataset = stopwatch.watch(tf.data.Dataset.from_tensor_slices(np.arange(4)).prefetch(2))
    began = time.monotonic()
    worked = 0.0
    for _ in dataset:
        resting = time.monotonic()
        time.sleep(PAUSE_S)
        worked += time.monotonic() - resting
    assert 0 < stopwatch.seconds <= time.monotonic() - began - worked
