"""Volumes that pass by slab by slab, in RAS+ order, so that none has to fit into memory.

Files store plane after plane; seen in RAS+ order these planes follow each other along one of the axes, up or down.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.open import StoredFile
from kseg.volumes.geometry import ras_grid, ras_order, spacing_mm, to_ras
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

GATHERED_PLANES = 32


class Slab(NamedTuple):
    """Planes of a volume: `array` is `(x, y, z, channels)` and holds those from `first` on, along the stream's axis."""

    first: int
    array: np.ndarray


@dataclass(frozen=True)
class VolumeStream:
    """A volume whose voxels have not been read.

    `shape` is (x, y, z); `affine` maps it to RAS mm; `axis` (0, 1, 2) is the one along which slabs follow each
    other, from the last to the first where it runs `downwards`. `read(thickness)` yields slabs that begin at
    multiples of `thickness` and hold as many planes, less where the volume ends. `notes` are sentences on what its file
    leaves open.
    """

    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype
    affine: np.ndarray
    stored: StoredGeometry
    axis: int
    downwards: bool
    read: Callable[[int], Iterator[Slab]]
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxels along x, y and z."""
        return spacing_mm(self.affine)

    def mapped(self, function: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> "VolumeStream":
        """Return the stream with `function` of each slab's array, which is of type `dtype` and has the same shape."""

        def read(thickness: int) -> Iterator[Slab]:
            for first, array in self.read(thickness):
                yield Slab(first, function(array))

        return replace(self, dtype=dtype, read=read)


def stream_of_file(file: StoredFile, like: np.ndarray | None = None) -> VolumeStream:
    """Return the stream of a file: `(i, j, k)` is reordered and flipped, never resampled.

    `like` is the affine of the image that it belongs to, whose order it takes (`ras_order`).
    """
    order = ras_order(file.geometry.affine, like)
    shape, affine = ras_grid(file.geometry, like)
    axis, downwards = int(order[2, 0]), bool(order[2, 1] < 0)
    k = file.geometry.shape[2]
    channels = file.shape[3] if len(file.shape) > 3 else 1

    def read(thickness: int) -> Iterator[Slab]:
        firsts = firsts_of(k, thickness, downwards)
        counts = [min(thickness, k - first) for first in firsts]
        for first, planes in zip(firsts, file.read(counts), strict=True):
            array = to_ras(planes, file.geometry.affine, like)
            yield Slab(first, array.reshape(*array.shape[:3], channels))

    return VolumeStream(shape, channels, file.dtype, affine, file.geometry, axis, downwards, read, file.notes)


def stream_of_volume(volume: Volume, axis: int = 0, downwards: bool = False) -> VolumeStream:
    """Return the stream of a volume in memory, `(x, y, z)` or `(x, y, z, channels)`, along an axis of choice."""
    array = volume.array.reshape(*volume.shape, -1)
    along = np.moveaxis(array, axis, 0)

    def read(thickness: int) -> Iterator[Slab]:
        for first in firsts_of(len(along), thickness, downwards):
            yield Slab(first, np.moveaxis(along[first : first + thickness], 0, axis))

    return VolumeStream(volume.shape, array.shape[3], array.dtype, volume.affine, volume.stored, axis, downwards, read)


def firsts_of(length: int, thickness: int, downwards: bool) -> list[int]:
    """First planes of the slabs of an axis, in the order in which they come."""
    firsts = list(range(0, length, thickness))
    return firsts[::-1] if downwards else firsts


def gather(stream: VolumeStream, name: str) -> Volume:
    """Read a stream whole, `(x, y, z, channels)`.

    Raises:
        InputError: as reading it does; or it does not fit into memory; `name` stands for it in the message.
    """
    try:
        array = np.empty((*stream.shape, stream.channels), stream.dtype)
    except (MemoryError, ValueError):
        raise InputError(f"{name} of shape {stream.shape} does not fit into memory: crop it, or resample it.") from None
    along = np.moveaxis(array, stream.axis, 0)
    for first, slab in stream.read(GATHERED_PLANES):
        along[first : first + slab.shape[stream.axis]] = np.moveaxis(slab, stream.axis, 0)
    return Volume(array, stream.affine, stream.stored)
