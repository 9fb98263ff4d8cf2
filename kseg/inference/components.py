"""Connected components of masks of any size, in memory for a slab of them.

A component number takes four bytes a voxel: for a whole volume more than its image and masks together. So the mask is
labelled (SciPy) slab by slab. Neighbouring slabs share a plane; where two components meet in it they are one, and the
connected components of that graph give each its number.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

SLAB_VOXELS = 2**24
"""Voxels labelled at once (64 MB of component numbers)."""
BY_FACES = ndimage.generate_binary_structure(3, 1)
"""6-connectivity: neighbours share a face."""
BY_CORNERS = ndimage.generate_binary_structure(3, 3)
"""26-connectivity: neighbours share a face, an edge or a corner."""

Mask = Callable[[slice], np.ndarray]


class Components:
    """The connected components of a mask, numbered from 1 in the order of their first voxels in x, y, z.

    Args:
        mask: planes, a slice of x, to the mask (x, y, z) in them, Boolean; it is asked anew on each pass.
        shape: (x, y, z) of the whole mask.
        neighbours: `BY_FACES` or `BY_CORNERS`.
        slab_voxels: voxels labelled at once; two planes at least.
    """

    def __init__(self, mask: Mask, shape: tuple[int, ...], neighbours: np.ndarray, slab_voxels: int = SLAB_VOXELS):
        self._mask = mask
        self._neighbours = neighbours
        planes = max(2, slab_voxels // (shape[1] * shape[2]))
        firsts = range(0, max(shape[0] - 1, 1), planes - 1)
        self._slabs = [slice(first, min(first + planes, shape[0])) for first in firsts]
        self._numbers = self._unite()
        self.count = max(int(numbers.max()) for numbers in self._numbers)

    def slabs(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield planes, a slice of x, and the component of each voxel (x, y, z) in them, 0 outside the mask.

        The mask may change in planes that were yielded.
        """
        for slab, numbers in zip(self._slabs, self._numbers, strict=True):
            components = numbers[self._label(slab)[0]]
            own = len(components) - (slab is not self._slabs[-1])  # the next slab needs the shared plane as it was
            yield slice(slab.start, slab.start + own), components[:own]

    def sizes(self) -> np.ndarray:
        """Return the voxels outside the mask, then those of component 1, 2, ..."""
        sizes = np.zeros(self.count + 1, np.int64)
        for _, components in self.slabs():
            for plane in components:  # one at a time, because bincount widens what it counts to 8 bytes
                sizes += np.bincount(plane.reshape(-1), minlength=len(sizes))
        return sizes

    def _label(self, slab: slice) -> tuple[np.ndarray, int]:
        numbers, count = ndimage.label(self._mask(slab), self._neighbours)
        return numbers, count

    def _unite(self) -> list[np.ndarray]:
        """For each slab the components' numbers, by the number that the slab gives them; 0 for 0."""
        firsts, meetings, seam = [0], [np.zeros((2, 0), np.int64)], None
        for slab in self._slabs:
            numbers, count = self._label(slab)
            if seam is not None:
                inside = seam >= 0
                meetings.append(np.unique([seam[inside], numbers[0][inside] - 1 + firsts[-1]], axis=1))
            seam = np.where(numbers[-1] > 0, numbers[-1].astype(np.int64) - 1 + firsts[-1], -1)
            firsts.append(firsts[-1] + count)
        one, other = np.concatenate(meetings, axis=1)
        graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(firsts[-1], firsts[-1]))
        united = csgraph.connected_components(graph, directed=False)[1] + 1
        pieces = np.split(united.astype(np.int32), firsts[1:-1])
        return [np.concatenate([np.zeros(1, np.int32), piece]) for piece in pieces]
