"""The intensities of a volume measured as it is read by whoever needs its voxels, so that it is read once."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kseg.volumes.intensity_normalisation import CaseIntensities
from kseg.volumes.volume_stream import Slab, VolumeStream


class WatchedStream:
    """A stream, to be read in place of the one given, and what was measured of it.

    `statistics` is `(channels, 4)` float32, as `intensity_statistics` has them, once `stream` has been read to its end;
    None before.
    """

    def __init__(self, stream: VolumeStream) -> None:
        self.stream = replace(stream, read=self._read)
        self.statistics: np.ndarray | None = None
        self._given = stream

    def _read(self, thickness: int) -> Iterator[Slab]:
        given = self._given
        intensities = CaseIntensities(given.dtype, given.channels, math.prod(given.shape))
        for first, array in given.read(thickness):
            for plane in range(array.shape[given.axis]):  # one by one, because counting takes memory
                start = [0, 0, 0]
                start[given.axis] = first + plane
                intensities.add(np.moveaxis(np.moveaxis(array, given.axis, 0)[plane : plane + 1], 0, given.axis), start)
            yield Slab(first, array)
        self.statistics = intensities.statistics()
