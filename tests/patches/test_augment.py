"""Flips: NumPy's, on the axes allowed, half the time, image and labels alike."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.augment import draw_flips, flip


@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_flips_are_numpys_and_a_landmark_stays_on_its_voxel(flips: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0, 1, 3] = 7
    image[0, 1, 3] = 1000
    axes = tuple(axis for axis in range(3) if flips[axis])
    flipped_image = flip(tf.constant(image), tf.constant(flips)).numpy()
    flipped_labels = flip(tf.constant(labels), tf.constant(flips)).numpy()
    np.testing.assert_array_equal(flipped_image, np.flip(image, axes))
    np.testing.assert_array_equal(flipped_labels, np.flip(labels, axes))
    np.testing.assert_array_equal(flipped_image[flipped_labels == 7], [[1000, 1000]])


@pytest.mark.parametrize("allowed", [(), ("x",), ("y", "z"), ("z", "x", "y")])
def test_allowed_axes_are_flipped_half_the_time_and_independently_others_never(allowed: tuple[str, ...]) -> None:
    draws = 1000
    seeds = tf.stack([tf.zeros(draws, tf.int64), tf.range(draws, dtype=tf.int64)], axis=1)
    drawn = tf.map_fn(lambda seed: draw_flips(allowed, seed), seeds, fn_output_signature=tf.bool).numpy()
    may = np.array([axis in allowed for axis in "xyz"])
    assert not drawn[:, ~may].any()
    bound = 4 * np.sqrt(draws / 4)  # four standard deviations of a fair coin
    assert np.all(np.abs(drawn[:, may].sum(axis=0) - draws / 2) < bound)
    for one, other in np.argwhere(np.triu(np.outer(may, may), 1)):
        assert abs((drawn[:, one] != drawn[:, other]).sum() - draws / 2) < bound
