"""How a volume is cut into columns: a partition, within its memory, of the fewest windows."""

import itertools

import numpy as np
import pytest

from kseg.inference.window_columns import cut_columns, touches
from kseg.inference.windows import window_starts


def cut(shape: tuple[int, ...], patch: tuple[int, ...], axis: int, max_voxels: int):  # type: ignore[no-untyped-def]
    starts = [window_starts(n, p, 0.5) for n, p in zip(shape, patch, strict=True)]
    return cut_columns(shape, patch, starts, axis, max_voxels), list(itertools.product(*starts))


@pytest.mark.parametrize("max_voxels", [10**9, 30 * 40 * 8, 9 * 40 * 8, 1000, 1])
def test_columns_partition_the_volume_along_its_axis(max_voxels: int) -> None:
    columns, _ = cut((30, 100, 40), (8, 8, 8), 1, max_voxels)
    covered = np.zeros((30, 100, 40), int)
    for column in columns:
        covered[column] += 1
        assert column[1] == slice(0, 100)
    np.testing.assert_array_equal(covered, 1)


@pytest.mark.parametrize("max_voxels", [30 * 40 * 8, 15 * 40 * 8, 9 * 40 * 8, 2000, 1000])
def test_columns_keep_within_their_memory(max_voxels: int) -> None:
    columns, _ = cut((30, 100, 40), (8, 8, 8), 1, max_voxels)
    for x, _, z in columns:
        assert (x.stop - x.start) * 8 * (z.stop - z.start) <= max_voxels


def test_eight_classes_of_a_large_volume_need_two_columns() -> None:
    """By hand: 512 x 512 x 96 voxels of 8 float32 are 805 MB, half of them 403 MB; a cut adds 2 of 10 rows."""
    columns, grid = cut((512, 512, 512), (96, 96, 96), 0, 420 * 10**6 // (8 * 4))
    assert columns == [
        (slice(0, 512), slice(0, 512), slice(0, 256)),
        (slice(0, 512), slice(0, 512), slice(256, 512)),
    ] or columns == [
        (slice(0, 512), slice(0, 256), slice(0, 512)),
        (slice(0, 512), slice(256, 512), slice(0, 512)),
    ]
    assert sum(touches(start, (96, 96, 96), column) for column in columns for start in grid) == 10 * 10 * 12


def test_a_tile_touches_the_columns_that_hold_a_voxel_of_it() -> None:
    column = (slice(0, 10), slice(4, 8), slice(0, 10))
    voxels = set(range(4, 8))
    for first in range(10):
        assert touches((0, first, 0), (2, 3, 2), column) == bool(voxels & set(range(first, first + 3)))
