"""Regular, overlapping windows over a volume: where a sliding window stops."""

import itertools
import math
from collections.abc import Sequence

Start = tuple[int, int, int]


def window_starts(length: int, patch: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis: as few as `overlap` allows, evenly spread.

    `overlap` in [0, 1) is the least share of a window that it has in common with the next, to the nearest
    voxel. The first window starts at 0, the last at `length - patch`; an axis no longer than the patch has one
    window, at 0.
    """
    last = max(length - patch, 0)
    stride = max(patch * (1 - overlap), 1)
    gaps = math.ceil(last / stride)
    return [round(last * i / gaps) for i in range(gaps)] + [last]


def windows(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> list[Start]:
    """First voxels (x, y, z) of windows that together cover a volume of `shape` (x, y, z)."""
    starts = (window_starts(length, patch, overlap) for length, patch in zip(shape, patch_size, strict=True))
    return [(x, y, z) for x, y, z in itertools.product(*starts)]
