"""Bricks: the small boxes in which a case is stored, so that a patch is cut without reading the volume.

Bricks do not overlap: a patch gathers those that it touches, wherever it lies and whatever its size. All bricks of a
case have one size, the last along an axis filled up with zeros; a volume no longer than `MAX_EDGE` is one brick.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from kseg.volumes.geometry import Box

MAX_EDGE = 64
"""Voxels. A patch of 96 touches 8 to 27 bricks of 64; more and smaller ones would cost more calls."""
GAP = 64
"""Voxels. Odd multiples of a cache line spread over all of the cache."""


@dataclass(frozen=True)
class Bricks:
    """The bricks of a volume: `shape` (x, y, z) of the volume, `size` (x, y, z) of a brick."""

    shape: tuple[int, int, int]
    size: tuple[int, int, int]

    @classmethod
    def of(cls, shape: Sequence[int]) -> "Bricks":
        """Return the fewest bricks of at most `MAX_EDGE` along each axis, of even size: little is filled up."""
        x, y, z = (math.ceil(length / math.ceil(length / MAX_EDGE)) for length in shape)
        return cls((shape[0], shape[1], shape[2]), (x, y, z))

    @property
    def grid(self) -> tuple[int, int, int]:
        """How many bricks lie along x, y and z."""
        x, y, z = (math.ceil(length / size) for length, size in zip(self.shape, self.size, strict=True))
        return x, y, z

    @property
    def count(self) -> int:
        """How many bricks there are; the number of a brick is its place in C order."""
        return math.prod(self.grid)

    def box(self, number: int) -> Box:
        """Return where in the volume a brick lies; shorter than a brick where the volume ends."""
        x, y, z = (
            slice(place * size, min((place + 1) * size, length))
            for place, size, length in zip(np.unravel_index(number, self.grid), self.size, self.shape, strict=True)
        )
        return x, y, z

    def cut(self, axis: int, first: int, slab: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number and the voxels, not filled up, of each brick of a slab.

        `slab`, (x, y, z, channels), is one brick thick along `axis`, less at the volume's end, and begins at plane
        `first` there.
        """
        places: list[Sequence[int]] = [range(count) for count in self.grid]
        places[axis] = [first // self.size[axis]]
        for place in product(*places):
            number = int(np.ravel_multi_index(place, self.grid))
            box = list(self.box(number))
            box[axis] = slice(None)
            yield number, slab[tuple(box)]

    def within(self, number: int, whole: np.ndarray) -> np.ndarray:
        """Return the part of a brick at its full size that lies within the volume: what `filled_up` began with."""
        x, y, z = (slice(part.stop - part.start) for part in self.box(number))
        return whole[x, y, z]

    def filled_up(self, block: np.ndarray) -> np.ndarray:
        """Return a brick's voxels at its full size, C order: zeros follow where the volume ends."""
        whole = np.zeros((*self.size, *block.shape[3:]), block.dtype)
        x, y, z = block.shape[:3]
        whole[:x, :y, :z] = _close_together(block)
        return whole


def _close_together(block: np.ndarray) -> np.ndarray:
    """Return a copy with its voxels in the order in which they lie in memory, ready to be brought into another.

    A slab in a file's order has its voxels far apart. Copied straight on they are read along, and the gap after each
    of its planes is there since rows whose distance is a power of two would push each other out of the processor's
    cache.
    """
    forwards = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in block.strides)
    steps = [abs(stride) if length > 1 else 0 for length, stride in zip(block.shape, block.strides, strict=True)]
    order = np.argsort(steps)[::-1]
    planes = block[forwards].transpose(order)
    copy = np.empty((len(planes), planes[0].size + GAP), block.dtype)[:, :-GAP].reshape(planes.shape)
    copy[...] = planes
    return copy.transpose(np.argsort(order))[forwards]
