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


def one_voxel(parsed: Parsed, *voxel: int) -> dict[str, Any]:
    """A volume of 12 x 11 x 10 voxels, in which a patch has 10 x 8 x 6 places; one voxel is labelled."""
    labels = np.zeros((12, 11, 10), np.uint8)
    labels[voxel] = 1
    return parsed(image_for(labels), labels, 2)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_asked_share_of_patches_is_centred_on_foreground(share: float, parsed: Parsed) -> None:
    centres = starts(one_voxel(parsed, 6, 5, 4), share, 600) + np.array(SIZE) // 2
    by_chance = (1 - share) / 480
    assert within(int(np.all(centres == (6, 5, 4), axis=1).sum()), 600, share + by_chance)


def test_about_a_voxel_near_a_border_a_patch_is_moved_inwards_and_no_further(parsed: Parsed) -> None:
    assert set(map(tuple, starts(one_voxel(parsed, 0, 10, 0), 1.0, 20).tolist())) == {(0, 7, 0)}
    assert set(map(tuple, starts(one_voxel(parsed, 11, 0, 4), 1.0, 20).tolist())) == {(9, 0, 2)}


def test_a_volume_smaller_than_the_patch_is_whole_in_it_wherever_its_foreground_is(parsed: Parsed) -> None:
    example = one_voxel(parsed, 0, 10, 5)
    found = starts(example, 1.0, 20, (14, 13, 7))
    assert set(map(tuple, found.tolist())) == {(-2, 0, 2)}  # centred: (-7, 4, 2)


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


def test_the_same_seed_draws_the_same_voxel(parsed: Parsed) -> None:
    corner = one_voxel(parsed, 0, 10, 0)
    one, again, other = (
        drawn(lambda seed: draw_start(corner, SIZE, 0.5, "uint8", seed), 30, number) for number in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_where_some_voxels_alone_are_labelled_every_patch_is_about_one_of_them(parsed: Parsed) -> None:
    labels = np.full((12, 11, 10), 2, np.uint8)  # nobody labelled it
    labels[4:8, 4:7, 3], labels[5, 5, 3], labels[11, 10, 9] = 0, 1, 0  # 12 and a corner voxel
    example = parsed(image_for(labels), labels, 2)
    centres = starts(example, 0.0, 1300) + np.array(SIZE) // 2
    assert set(map(tuple, centres[:, 2:].tolist())) == {(3,), (7,)}  # of the corner moved inwards
    inside = centres[centres[:, 2] == 3]
    assert {tuple(centre) for centre in inside.tolist()} == {(x, y, 3) for x in range(4, 8) for y in range(4, 7)}
    assert within(len(inside), 1300, 12 / 13)
    assert within(int((inside == (4, 4, 3)).all(axis=1).sum()), 1300, 1 / 13)
    assert (starts(example, 1.0, 20) + np.array(SIZE) // 2 == (5, 5, 3)).all()
