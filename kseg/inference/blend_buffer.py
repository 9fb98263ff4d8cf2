"""The memory of a sliding window: sums of weighted probabilities for as many planes as a window is thick."""

from collections.abc import Iterator, Sequence

import numpy as np

from kseg.volumes.geometry import Box, other_axes


class BlendBuffer:
    """Adds up windows in a column of a volume, and gives away each plane that no later window reaches.

    Planes stand across `axis`. That at position p of the axis is kept in place p modulo `thickness`, so that nothing
    is moved when the buffer goes on. Each class has its own array: sums run over contiguous memory, one class at a
    time.

    Args:
        column: the part of the volume, three slices.
        axis: the axis along which windows come in ascending order.
        thickness: voxels of a window along that axis.
        num_classes: classes of a probability.
    """

    def __init__(self, column: Box, axis: int, thickness: int, num_classes: int):
        self.column = column
        self.axis = axis
        self.thickness = thickness
        self._across = other_axes(axis)
        widths = [column[other].stop - column[other].start for other in self._across]
        self._sums = np.zeros((num_classes, thickness, *widths), np.float32)
        self._next = 0

    def add(self, start: Sequence[int], weights: np.ndarray, probabilities: np.ndarray) -> None:
        """Add a window's share, as far as it lies in the column.

        Args:
            start: the window's first voxel in the volume, (x, y, z).
            weights: (x, y, z) float32, as thick as `thickness`.
            probabilities: (x, y, z, classes).
        """
        inside, target = [slice(None)] * 3, []
        for axis in self._across:
            piece, extent = self.column[axis], weights.shape[axis]
            first, stop = max(start[axis], piece.start), min(start[axis] + extent, piece.stop)
            inside[axis] = slice(first - start[axis], stop - start[axis])
            target.append(slice(first - piece.start, stop - piece.start))
        weights = np.moveaxis(weights[tuple(inside)], self.axis, 0)
        probabilities = np.moveaxis(probabilities[tuple(inside)], self.axis, 0)
        turn = start[self.axis] % self.thickness  # planes beyond the buffer's end go on at its beginning
        parts = (slice(0, self.thickness - turn), slice(turn, None)), (slice(self.thickness - turn, None), slice(turn))
        for index, sums in enumerate(self._sums):
            for of_window, place in parts:
                sums[place, target[0], target[1]] += weights[of_window] * probabilities[of_window, ..., index]

    def finished(self, stop: int) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield the planes before position `stop` of the axis that were not yet given away, and forget them.

        Each is its place in the volume and its probabilities (x, y, z, classes) float32, one voxel thick.
        """
        for position in range(self._next, stop):
            sums = self._sums[:, position % self.thickness]
            plane = np.expand_dims(np.moveaxis(sums, 0, -1), self.axis).copy()
            sums[...] = 0
            box = list(self.column)
            box[self.axis] = slice(position, position + 1)
            yield (box[0], box[1], box[2]), plane
        self._next = max(self._next, stop)
