"""Columns: parts of a volume, as long as it is, that are narrow enough for a fixed amount of memory."""

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod
from typing import NamedTuple

from kseg.volumes.geometry import Box


class AxisCut(NamedTuple):
    """One way to cut an axis: its pieces, the widest of them in voxels, and how many windows lie in each, summed up."""

    pieces: list[slice]
    widest: int
    windows: int


def cut_columns(
    shape: Sequence[int], extents: Sequence[int], starts: Sequence[Sequence[int]], axis: int, max_voxels: int
) -> list[Box]:
    """Cut a volume along the two axes other than `axis` into columns, so that few windows lie in more than one.

    Args:
        shape: (x, y, z) voxels of the volume.
        extents: (x, y, z) voxels of a window, no larger than the volume.
        starts: for x, y, z the first voxels of the windows.
        axis: the axis along which columns keep the volume's whole length.
        max_voxels: of a column as long as a window. Where even as many pieces as there are windows have more, the
            columns are these.
    """

    def cuts(along: int) -> list[AxisCut]:
        if along == axis:
            return [AxisCut([slice(0, shape[axis])], extents[axis], len(starts[axis]))]
        counts = range(1, len(starts[along]) + 1)
        return [_even_cut(shape[along], count, extents[along], starts[along]) for count in counts]

    def voxels(cut: Sequence[AxisCut]) -> int:
        return prod(along.widest for along in cut)

    options = list(product(*(cuts(along) for along in range(3))))
    fitting = [cut for cut in options if voxels(cut) <= max_voxels] or [min(options, key=voxels)]
    x, y, z = min(fitting, key=lambda cut: prod(along.windows for along in cut))
    return list(product(x.pieces, y.pieces, z.pieces))


def touches(start: Sequence[int], extents: Sequence[int], column: Box) -> bool:
    """Whether a window that begins at voxel `start` (x, y, z) and has `extents` voxels lies in a column, if in part."""
    return all(_touches(*axis) for axis in zip(start, extents, column, strict=True))


def _even_cut(length: int, count: int, extent: int, starts: Sequence[int]) -> AxisCut:
    bounds = [length * i // count for i in range(count + 1)]
    pieces = [slice(first, stop) for first, stop in pairwise(bounds)]
    windows = sum(_touches(start, extent, piece) for piece in pieces for start in starts)
    return AxisCut(pieces, max(piece.stop - piece.start for piece in pieces), windows)


def _touches(start: int, extent: int, piece: slice) -> bool:
    return start < piece.stop and start + extent > piece.start
