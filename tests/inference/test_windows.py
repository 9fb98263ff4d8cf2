"""Tiles cover the volume, stay inside it and overlap as asked."""

import numpy as np
import pytest

from kseg.inference.windows import window_starts, windows


@pytest.mark.parametrize(
    ("length", "patch", "overlap", "expected"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (10, 4, 0.0, [0, 3, 6]),
        (8, 4, 0.0, [0, 4]),
        (9, 8, 0.5, [0, 1]),
        (8, 8, 0.5, [0]),
        (5, 8, 0.5, [0]),
        (6, 4, 0.99, [0, 1, 2]),
        (3, 1, 0.5, [0, 1, 2]),
    ],
)
def test_starts_worked_by_hand(length: int, patch: int, overlap: float, expected: list[int]) -> None:
    assert window_starts(length, patch, overlap) == expected


def test_neighbours_share_at_least_the_overlap_and_gaps_are_even() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        patch = int(rng.integers(1, 40))
        length = patch + int(rng.integers(0, 200))
        overlap = float(rng.uniform(0, 0.95))
        gaps = np.diff(window_starts(length, patch, overlap))
        # Starts are whole voxels, hence the rounding of the largest gap.
        assert np.all(gaps <= np.ceil(max(patch * (1 - overlap), 1)))
        assert np.all(gaps >= 1)
        assert np.ptp(gaps) <= 1 if gaps.size else length == patch


def test_every_voxel_is_covered_and_no_tile_leaves_the_volume() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        shape = rng.integers(1, 30, size=3)
        patch_size = rng.integers(1, 20, size=3)
        covered = np.zeros(shape, int)
        starts = windows(shape.tolist(), patch_size.tolist(), float(rng.uniform(0, 0.8)))
        for start in starts:
            assert np.all(np.add(start, patch_size) <= np.maximum(shape, patch_size))
            covered[tuple(slice(s, s + p) for s, p in zip(start, patch_size, strict=True))] += 1
        assert covered.min() >= 1
        assert len(set(starts)) == len(starts)


def test_disjoint_tiles_cover_a_divisible_volume_exactly_once() -> None:
    covered = np.zeros((12, 8, 6), int)
    for x, y, z in windows((12, 8, 6), (4, 4, 3), overlap=0):
        covered[x : x + 4, y : y + 4, z : z + 3] += 1
    np.testing.assert_array_equal(covered, 1)
