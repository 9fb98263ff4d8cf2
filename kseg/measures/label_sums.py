"""Where the voxels of each label value lie, summed in one pass over a label map, plane by plane.

Sums of integers are exact, and those of several values add up: a structure may be several labels together.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np


@dataclass(frozen=True)
class LabelSums:
    """Sums over the voxels of one or several label values.

    Args:
        counts: voxels by their place along x, y and z: three integer arrays, as long as the volume is.
        products: sums of the products of indices, 3 x 3 integers: row and column are axes.
    """

    counts: tuple[np.ndarray, np.ndarray, np.ndarray]
    products: np.ndarray

    def __add__(self, other: "LabelSums") -> "LabelSums":
        """Those of both together."""
        x, y, z = (mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return LabelSums((x, y, z), self.products + other.products)

    @property
    def voxels(self) -> int:
        """How many there are."""
        return int(self.counts[0].sum())

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The smallest box with all of them; there must be some."""
        x, y, z = (np.flatnonzero(counts) for counts in self.counts)
        return slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1), slice(z[0], z[-1] + 1)

    @property
    def touches_border(self) -> bool:
        """Whether one is the first or last along an axis."""
        return any(bool(counts[0] or counts[-1]) for counts in self.counts)

    @property
    def centre(self) -> np.ndarray:
        """Their mean index, float64 (3,); there must be some."""
        return np.array([counts @ np.arange(len(counts)) for counts in self.counts]) / self.voxels

    @property
    def covariance(self) -> np.ndarray:
        """That of their indices, float64 (3, 3), as of solid voxels: each adds that of a box of edge 1, 1/12."""
        centre = self.centre
        return self.products / self.voxels - np.outer(centre, centre) + np.eye(3) / 12


def values_of(mask: np.ndarray) -> list[int]:
    """Return the values of a label map, integers (x, y, z), sorted."""
    return sorted({value for _, plane in _planes(mask) for value in np.unique(plane).tolist()})


def label_sums(mask: np.ndarray, values: Iterable[int]) -> dict[int, LabelSums]:
    """Return the sums of each of `values` in a label map, integers (x, y, z).

    It takes the memory of a few planes, and of a number for each value and place along an axis.
    """
    wanted = np.array(sorted(set(values)), np.int64)
    length, shape = len(wanted), mask.shape
    across = slowest_axis(mask)
    u_axis, v_axis = (axis for axis in range(3) if axis != across)
    counts = [np.zeros((length, size), np.int64) for size in shape]
    products = np.zeros((length, 3, 3), np.int64)
    for place, plane in _planes(mask):
        number, u, v = places_of(plane, wanted)
        if not number.size:
            continue
        of_u, of_v = (
            np.bincount(number * shape[axis] + at, minlength=length * shape[axis]).reshape(length, -1)
            for axis, at in ((u_axis, u), (v_axis, v))
        )
        counts[u_axis] += of_u
        counts[v_axis] += of_v
        counts[across][:, place] = of_u.sum(axis=1)
        products[:, u_axis, v_axis] += np.bincount(number, u * v, length).astype(np.int64)
        products[:, u_axis, across] += place * (of_u @ np.arange(shape[u_axis]))
        products[:, v_axis, across] += place * (of_v @ np.arange(shape[v_axis]))
    products += np.swapaxes(products, 1, 2)
    for axis, size in enumerate(shape):
        products[:, axis, axis] = counts[axis] @ np.arange(size) ** 2
    x, y, z = counts
    return {value: LabelSums((x[n], y[n], z[n]), products[n]) for n, value in enumerate(wanted.tolist())}


def summed(sums: Sequence[LabelSums]) -> LabelSums:
    """Return the sums of several label values together, one at least."""
    return reduce(lambda one, other: one + other, sums)


def places_of(array: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return of each voxel that has a wanted value the number of the value, and the index along each axis.

    Args:
        array: label values, integers.
        wanted: values, sorted, int64 (values,).
    """
    there = np.nonzero(np.isin(array, wanted))
    return np.searchsorted(wanted, array[there].astype(np.int64)), *there


def slowest_axis(array: np.ndarray) -> int:
    """Return the axis whose planes lie closest together in memory, so that they are read at once."""
    return int(np.argmax(np.abs(array.strides)))


def span_along(mask: np.ndarray, values: Collection[int], direction: np.ndarray) -> float:
    """Return how far apart, along a direction, the outermost voxels' centres of a structure are; 0 where it is nowhere.

    Args:
        mask: label values, integers (x, y, z), in a box around the structure.
        values: of the structure.
        direction: what a step along x, y and z adds, (3,).
    """
    across = slowest_axis(mask)
    u_step, v_step = np.delete(direction, across)
    lowest, highest = np.inf, -np.inf
    for place, plane in _planes(mask):
        own = np.isin(plane, list(values))
        rows = np.flatnonzero(own.any(axis=1))
        if not rows.size:
            continue
        own = own[rows]  # of each row the first and the last voxel are the outermost
        ends = np.stack([own.argmax(axis=1), own.shape[1] - 1 - own[:, ::-1].argmax(axis=1)])
        along = place * direction[across] + rows * u_step + ends * v_step
        lowest, highest = min(lowest, along.min()), max(highest, along.max())
    return float(max(highest - lowest, 0.0))


def _planes(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    return enumerate(np.moveaxis(mask, slowest_axis(mask), 0))
