"""Copies for a browser: every block against a loop over its voxels, and its place in mm."""

import itertools

import numpy as np
import pytest

from kseg.viewer.reduced_volume import (
    Factors,
    box_at,
    box_of,
    boxed,
    reduced_image,
    reduced_labels,
    reduction_factors,
)
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_volume

OBLIQUE = np.array([[0.4, 0.1, 0.0, -30.0], [-0.1, 0.5, 0.2, 12.0], [0.0, -0.2, 1.5, 7.0], [0.0, 0.0, 0.0, 1.0]])
FACTORS = [(1, 1, 1), (2, 2, 2), (3, 1, 2), (4, 5, 70)]


def streamed(array: np.ndarray, axis: int = 2, downwards: bool = False) -> VolumeStream:
    x, y, z = array.shape[:3]
    return stream_of_volume(Volume(array, OBLIQUE, StoredGeometry((x, y, z), OBLIQUE, ".nii")), axis, downwards)


def blocks(array: np.ndarray, factors: Factors) -> dict[tuple[int, ...], np.ndarray]:
    """The voxels of each block, by its place in the copy."""
    counts = [-(-side // factor) for side, factor in zip(array.shape, factors, strict=True)]
    places = itertools.product(*map(range, counts))
    return {
        place: array[tuple(slice(i * factor, (i + 1) * factor) for i, factor in zip(place, factors, strict=True))]
        for place in places
    }


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize(("axis", "downwards"), [(0, False), (1, True), (2, False), (2, True)])
def test_an_image_has_the_mean_of_each_block(factors: Factors, axis: int, downwards: bool) -> None:
    array = np.random.default_rng(1).integers(0, 256, (9, 11, 75, 2)).astype(np.uint8)
    copy = reduced_image(streamed(array, axis, downwards), 1, factors)
    assert copy.array.dtype == np.uint8
    for place, voxels in blocks(array[..., 1], factors).items():
        assert abs(copy.array[place] - voxels.mean()) <= 0.5 + 1e-5


def test_types_that_browsers_lack_become_float32() -> None:
    array = np.array([-70000, 70000, 3, 5], np.int32).reshape(4, 1, 1)
    copy = reduced_image(streamed(array), 0, (2, 1, 1))
    assert (copy.array.dtype, copy.array.ravel().tolist()) == (np.dtype(np.float32), [0.0, 4.0])
    signed = reduced_image(streamed(np.array([-3, -4], np.int16).reshape(2, 1, 1)), 0, (1, 1, 1))
    assert (signed.array.dtype, signed.array.ravel().tolist()) == (np.dtype(np.int16), [-3, -4])


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("downwards", [False, True])
def test_a_mask_has_the_most_frequent_structure_of_each_block(factors: Factors, downwards: bool) -> None:
    array = np.random.default_rng(2).choice([0, 7, 9, 300, -1], (9, 11, 75), p=[0.4, 0.2, 0.2, 0.1, 0.1])
    copy = reduced_labels(streamed(array, 2, downwards), [(7,), (300, -1)], factors)
    for place, voxels in blocks(array, factors).items():
        first, second = int((voxels == 7).sum()), int(np.isin(voxels, [300, -1]).sum())
        rest = voxels.size - first - second
        wanted = 0 if rest > max(first, second) else 1 if first > second else 2
        assert copy.array[place] == wanted


def test_what_is_thin_stays_where_it_fills_half_of_a_block() -> None:
    array = np.zeros((4, 2, 2), np.uint8)
    array[1] = 5
    assert reduced_labels(streamed(array), [(5,)], (2, 2, 2)).array.ravel().tolist() == [1, 0]


def test_a_block_lies_in_the_middle_of_its_voxels() -> None:
    array = np.arange(4 * 6 * 4, dtype=np.float32).reshape(4, 6, 4)
    copy = reduced_image(streamed(array), 0, (2, 3, 4))
    middle = np.mean([OBLIQUE @ [x, y, z, 1] for x in (2, 3) for y in (3, 4, 5) for z in (0, 1, 2, 3)], axis=0)
    assert copy.affine @ [1, 1, 0, 1] == pytest.approx(middle)


@pytest.mark.parametrize(("axis", "downwards"), [(0, False), (1, False), (2, True)])
def test_a_box_holds_the_voxels_themselves_in_their_place(axis: int, downwards: bool) -> None:
    array = np.random.default_rng(3).integers(0, 99, (70, 9, 80)).astype(np.int16)
    box = box_at(array.shape, (33.4, 8, 79), 40)
    assert box == (slice(13, 53), slice(0, 9), slice(40, 80))
    copy = reduced_image(streamed(array, axis, downwards), 0, (1, 1, 1), box)
    assert (copy.array == array[box]).all()
    assert copy.affine @ [0, 0, 0, 1] == pytest.approx(OBLIQUE @ [13, 0, 40, 1])
    labels = reduced_labels(streamed(array, axis, downwards), [(5,)], (1, 1, 1), box)
    assert (labels.array == (array[box] == 5)).all()


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "most", "wanted"),
    [
        ((100, 100, 100), (1, 1, 1), 10**6, (1, 1, 1)),
        ((512, 512, 1443), (0.2, 0.2, 0.2), 2**24, (3, 3, 3)),
        ((512, 512, 40), (0.5, 0.5, 5.0), 2**20, (4, 3, 1)),
        ((5000, 10, 10), (1, 1, 1), 2**24, (3, 1, 1)),  # longer than a texture
        ((3, 3, 3), (1, 1, 1), 1, (3, 3, 3)),
    ],
)
def test_blocks_are_as_small_as_the_room_allows(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], most: int, wanted: Factors
) -> None:
    factors = reduction_factors(shape, spacing_mm, most)
    sides = [-(-side // factor) for side, factor in zip(shape, factors, strict=True)]
    assert factors == wanted
    assert np.prod(sides) <= most


@pytest.mark.parametrize(("axis", "downwards"), [(0, False), (1, True), (2, True)])
def test_what_touches_the_border_of_the_box_touches_that_of_the_volume(axis: int, downwards: bool) -> None:
    array = np.zeros((40, 50, 90), np.uint8)
    array[0:3, 7:9, 60:70] = 4
    array[5, 20, 41] = 6
    array[39, 49, 0] = 9  # is not asked for
    box = box_of(streamed(array, axis, downwards), [4, 6])
    assert box == (slice(0, 7), slice(6, 22), slice(40, 71))
    assert (boxed(streamed(array, axis, downwards), box).array[..., 0] == array[box]).all()
    assert box_of(streamed(array, axis, downwards), [5]) is None
