"""Where patches start: shares and uniformity by counting, with bounds of a fixed seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.sampling import draw_foreground_voxel, draw_start

Parsed = Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]
SIZE = (3, 4, 5)


@pytest.fixture(params=[64, 3], ids=["one brick", "bricks of 3"])
def edge(request: pytest.FixtureRequest) -> int:
    return request.param


def drawn(draw: Callable[[tf.Tensor], tf.Tensor], count: int, seed: int = 0) -> np.ndarray:
    """`count` draws `(count, 3)`, with seeds as the pipeline gives them."""
    seeds = tf.stack([tf.fill([count], tf.cast(seed, tf.int64)), tf.range(count, dtype=tf.int64)], axis=1)
    return tf.data.Dataset.from_tensor_slices(seeds).map(draw).batch(count).get_single_element().numpy()


def starts(example: dict[str, Any], share: float, count: int, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    return drawn(lambda seed: draw_start(example, size, share, "uint8", seed), count)


def within(count: int, trials: int, share: float) -> bool:
    """Whether a count lies within four standard deviations of its expectation."""
    return abs(count - trials * share) <= 4 * np.sqrt(trials * share * (1 - share))


def image_for(labels: np.ndarray) -> np.ndarray:
    return np.arange(labels.size, dtype=np.int32).reshape(*labels.shape, 1)


@pytest.fixture
def corner(parsed: Parsed) -> dict[str, Any]:
    """One labelled voxel, so far in the corner that no patch inside the volume is centred on it."""
    labels = np.zeros((12, 11, 10), np.uint8)
    labels[0, 10, 0] = 1
    return parsed(image_for(labels), labels, 2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_asked_share_of_patches_is_centred_on_foreground(share: float, corner: dict[str, Any]) -> None:
    centres = starts(corner, share, 600) + np.array(SIZE) // 2
    assert within(int(np.all(centres == (0, 10, 0), axis=1).sum()), 600, share)


def test_each_class_is_drawn_equally_often_and_each_of_its_voxels_too(parsed: Parsed) -> None:
    labels = np.zeros((10, 10, 8), np.uint8)
    labels[2:7, :, 2:6] = 1  # 200 voxels
    labels[4, 3, 7] = labels[9, 9, 7] = 3  # 2 voxels; nothing of class 2
    example, draws = parsed(image_for(labels), labels, 4), 4000
    voxels = drawn(lambda seed: draw_foreground_voxel(example, "uint8", seed), draws)
    found = labels[tuple(voxels.T)]
    assert set(found.tolist()) == {1, 3}
    assert within(int((found == 3).sum()), draws, 0.5)
    large = voxels[found == 1]
    counts = np.unique(large, axis=0, return_counts=True)[1]
    assert len(counts) == 200  # every labelled voxel comes sometime
    expected = len(large) / 200
    chi_squared = np.sum((counts - expected) ** 2 / expected)
    assert abs(chi_squared - 199) < 4 * np.sqrt(2 * 199)  # its mean and standard deviation at 199 degrees of freedom
    assert within(int(np.all(voxels == (9, 9, 7), axis=1).sum()), draws, 0.25)


def test_many_classes_are_told_apart(parsed: Parsed) -> None:
    labels = np.zeros((4, 10, 10), np.uint16)
    labels.reshape(-1)[100:399] = np.arange(1, 300)
    example = parsed(image_for(labels), labels, 300)
    voxels = drawn(lambda seed: draw_foreground_voxel(example, "uint16", seed), 200)
    found = labels[tuple(voxels.T)]
    assert found.min() > 0
    assert len(np.unique(found)) > 120  # of 299, about 146 are expected


def test_a_volume_without_foreground_is_sampled_anywhere(parsed: Parsed) -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    found = starts(parsed(image_for(labels), labels, 3), 1.0, 100)
    assert np.all(found >= 0)
    assert np.all(found + SIZE <= labels.shape)
    assert len(np.unique(found, axis=0)) > 10


def test_random_patches_lie_inside_and_reach_both_ends_equally_often(parsed: Parsed) -> None:
    labels = np.zeros((5, 4, 8), np.uint8)  # 3, 1 and 4 places for a patch
    found = starts(parsed(image_for(labels), labels, 2), 0.0, 1200)
    for axis, places in enumerate((3, 1, 4)):
        counts = np.bincount(found[:, axis], minlength=places)
        assert len(counts) == places
        assert all(within(int(count), 1200, 1 / places) for count in counts)


def test_a_volume_smaller_than_the_patch_lies_anywhere_inside_it(parsed: Parsed) -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    found = starts(parsed(image_for(labels), labels, 2), 0.0, 400)
    assert set(found[:, 0].tolist()) == {-1, 0}
    assert set(found[:, 1].tolist()) == {0}
    assert set(found[:, 2].tolist()) == {-1, 0}


def test_the_same_seed_draws_the_same_voxel(corner: dict[str, Any]) -> None:
    one, again, other = (
        drawn(lambda seed: draw_start(corner, SIZE, 0.5, "uint8", seed), 30, number) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
