"""Regular, overlapping tiles over a volume: where a sliding window stops."""

import itertools
import math
from collections.abc import Sequence

Start = tuple[int, int, int]


def tile_starts(length: int, patch: int, overlap: float) -> list[int]:
    """First voxels of the tiles along one axis: as few as `overlap` allows, evenly spread.

    `overlap` in [0, 1) is the least share of a tile that it has in common with the next, to the nearest
    voxel. The first tile starts at 0, the last at `length - patch`; an axis no longer than the patch has one
    tile, at 0.
    """
    last = max(length - patch, 0)
    stride = max(patch * (1 - overlap), 1)
    gaps = math.ceil(last / stride)
    return [round(last * i / gaps) for i in range(gaps)] + [last]


def tiles(shape: Sequence[int], patch_size: Sequence[int], overlap: float) -> list[Start]:
    """First voxels (x, y, z) of tiles that together cover a volume of `shape` (x, y, z)."""
    starts = (tile_starts(length, patch, overlap) for length, patch in zip(shape, patch_size, strict=True))
    return [(x, y, z) for x, y, z in itertools.product(*starts)]
