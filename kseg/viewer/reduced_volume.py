"""Copies of volumes that a browser has room for: coarser ones of the whole, and boxes of the voxels themselves."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kseg.volumes.geometry import other_axes
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import GATHERED_PLANES, VolumeStream, stream_of_volume

Factors: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[slice, slice, slice]

LONGEST_SIDE = 2048
"""Voxels along a side of a texture, which WebGL takes on nearly every machine."""
MOST_STRUCTURES = 255
"""Of a mask in bytes, beside the background."""


@dataclass(frozen=True)
class Copy:
    """Voxels `(x, y, z)` of a type that NIfTI and browsers read, and the affine that places them in RAS mm.

    A grey value is `slope` times a voxel's, and `intercept`.
    """

    array: np.ndarray
    affine: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0


def reduction_factors(
    shape: Sequence[int], spacing_mm: Sequence[float], most_voxels: int, longest_side: int = LONGEST_SIDE
) -> Factors:
    """Return of how many voxels along x, y and z a block consists, so that a copy has at most `most_voxels`.

    Blocks become as alike along their sides as they can.

    Args:
        shape: (x, y, z) of the volume.
        spacing_mm: of its voxels.
        most_voxels: of the copy, at least 1.
        longest_side: in voxels of the copy.

    Example:
        >>> from kseg.viewer.reduced_volume import reduction_factors
        >>> reduction_factors((512, 512, 1443), (0.2, 0.2, 0.2), 2**23)
        (4, 4, 3)
        >>> reduction_factors((512, 512, 30), (0.5, 0.5, 4.0), 2**20)
        (3, 3, 1)
    """
    factors = [-(-side // longest_side) for side in shape]
    while np.prod(_reduced_shape(shape, factors), dtype=float) > most_voxels:
        finest = min(
            (axis for axis in range(3) if factors[axis] < shape[axis]),
            key=lambda axis: factors[axis] * spacing_mm[axis],
        )
        factors[finest] += 1
    x, y, z = factors
    return x, y, z


def reduced_image(stream: VolumeStream, channel: int, factors: Factors, box: Box | None = None) -> Copy:
    """Return a channel of an image with the mean of each block of voxels.

    Memory is that of a slab and of the copy. Integers of up to 16 bits keep their type (means are rounded), all others
    become float32.

    Args:
        stream: the image.
        channel: counted from 0.
        factors: of how many voxels along x, y, z a block consists; at the far ends it may be of fewer.
        box: the part of the volume that is copied, in voxels; None for all of it.

    Raises:
        InputError: the file is damaged.
    """
    kept = stream.dtype.kind in "iu" and stream.dtype.itemsize <= 2
    dtype = stream.dtype if kept else np.dtype(np.float32)

    def reduce(voxels: np.ndarray, blocks: Factors) -> np.ndarray:
        means = _block_sums(voxels[..., channel], blocks) / _block_sizes(voxels.shape[:3], blocks)
        return np.rint(means) if kept else means

    return _copied(stream, dtype, factors, box, reduce)


def reduced_labels(
    stream: VolumeStream, structures: Sequence[Collection[int]], factors: Factors, box: Box | None = None
) -> Copy:
    """Return a label map with the most frequent structure of each block: 1 for the first, 2 ..., 0 for the rest.

    Where several are as frequent, the later structure is taken, and the rest last, so that what is thin does not go.

    Args:
        stream: the label map, of one channel.
        structures: the label values of each, at most 255 of them.
        factors: see `reduced_image`.
        box: see `reduced_image`.

    Raises:
        InputError: the file is damaged.
    """
    if len(structures) > MOST_STRUCTURES:
        raise ValueError(f"`structures` must be at most {MOST_STRUCTURES}. Received {len(structures)}.")

    def reduce(voxels: np.ndarray, blocks: Factors) -> np.ndarray:
        labels, most = voxels[..., 0], None
        indices = np.zeros(_reduced_shape(labels.shape, blocks), np.uint8)
        background = _block_sizes(labels.shape, blocks) * np.ones(indices.shape, np.float32)
        for index, values in enumerate(structures, start=1):
            voxels_of = np.isin(labels, [*values])
            if not voxels_of.any():
                continue
            counts = _block_sums(voxels_of, blocks)
            background -= counts
            most = np.zeros(indices.shape, np.float32) if most is None else most
            indices[(counts >= most) & (counts > 0)] = index
            most = np.maximum(most, counts)
        if most is not None:
            indices[background > most] = 0
        return indices

    return _copied(stream, np.dtype(np.uint8), factors, box, reduce)


def box_at(shape: Sequence[int], centre: Sequence[float], side: int) -> Box:
    """Return the box of `side` voxels along each axis around a voxel, moved so that it lies within the volume.

    Example:
        >>> from kseg.viewer.reduced_volume import box_at
        >>> box_at((100, 100, 20), (10.2, 50.0, 10.0), 40)
        (slice(0, 40, None), slice(30, 70, None), slice(0, 20, None))
    """
    starts = [
        int(np.clip(round(middle) - side // 2, 0, max(length - side, 0)))
        for length, middle in zip(shape, centre, strict=True)
    ]
    x, y, z = (slice(start, min(start + side, length)) for start, length in zip(starts, shape, strict=True))
    return x, y, z


def box_of(stream: VolumeStream, values: Collection[int]) -> Box | None:
    """Return the box of all voxels of some values, and a voxel more on each side that is not the volume's own border.

    So what touches the border of the box touches that of the volume, and nothing else does. None where there are none.

    Args:
        stream: a label map, of one channel; slabs of it are read.
        values: label values.

    Raises:
        InputError: the file is damaged.
    """
    there = [np.zeros(side, bool) for side in stream.shape]
    for first, slab in stream.read(GATHERED_PLANES):
        marked = np.isin(slab[..., 0], [*values])
        for axis, places in enumerate(there):
            along: np.ndarray = np.asarray(marked.any(axis=other_axes(axis)))
            begin = first if axis == stream.axis else 0
            places[begin : begin + len(along)] |= along
    found = [np.flatnonzero(places) for places in there]
    if not found[0].size:
        return None
    x, y, z = (
        slice(max(int(places[0]) - 1, 0), min(int(places[-1]) + 2, side))
        for places, side in zip(found, stream.shape, strict=True)
    )
    return x, y, z


def boxed(stream: VolumeStream, box: Box) -> Volume:
    """Return what lies in a box, `(x, y, z, channels)`; the stream is read to its end, where damage is found.

    Raises:
        InputError: the file is damaged.
    """
    shape = [part.stop - part.start for part in box]
    array = np.empty((*shape, stream.channels), stream.dtype)
    along, part = np.moveaxis(array, stream.axis, 0), box[stream.axis]
    within = tuple(slice(None) if axis == stream.axis else one for axis, one in enumerate(box))
    for first, slab in stream.read(GATHERED_PLANES):
        planes = np.moveaxis(slab[within], stream.axis, 0)
        begin, end = max(first, part.start), min(first + len(planes), part.stop)
        if begin < end:
            along[begin - part.start : end - part.start] = planes[begin - first : end - first]
    corner = np.eye(4)
    corner[:3, 3] = [one.start for one in box]
    return Volume(array, stream.affine @ corner, stream.stored)


def _copied(
    stream: VolumeStream,
    dtype: np.dtype,
    factors: Factors,
    box: Box | None,
    reduced: Callable[[np.ndarray, Factors], np.ndarray],
) -> Copy:
    whole = stream if box is None else stream_of_volume(boxed(stream, box))
    array = np.empty(_reduced_shape(whole.shape, factors), dtype)
    along = np.moveaxis(array, whole.axis, 0)
    planes = factors[whole.axis]
    for first, slab in whole.read(planes * max(1, GATHERED_PLANES // planes)):
        part = np.moveaxis(reduced(slab, factors), whole.axis, 0)
        along[first // planes : first // planes + len(part)] = part
    blocks = np.diag([*map(float, factors), 1.0])
    blocks[:3, 3] = [(factor - 1) / 2 for factor in factors]  # the middle of the first block
    return Copy(array, whole.affine @ blocks)


def _reduced_shape(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-side // factor) for side, factor in zip(shape, factors, strict=True))


def _block_sums(voxels: np.ndarray, factors: Factors) -> np.ndarray:
    sums = voxels.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            sums = np.add.reduceat(sums, np.arange(0, sums.shape[axis], factor), axis=axis)
    return sums


def _block_sizes(shape: Sequence[int], factors: Factors) -> np.ndarray:
    """Return how many voxels each block holds, to be broadcast to the copy's shape."""
    sides = [
        np.minimum(factor, side - np.arange(0, side, factor, dtype=np.float32))
        for side, factor in zip(shape, factors, strict=True)
    ]
    return sides[0][:, None, None] * sides[1][:, None] * sides[2]
