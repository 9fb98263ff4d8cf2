"""The labels of a case, packed brick by brick: what would fill memory as an array are a few megabytes."""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kseg.records.bricks import Bricks
from kseg.storage.read_ahead import read_ahead
from kseg.volumes.geometry import other_axes
from kseg.volumes.intensity_normalisation import INSIDE, NEITHER, OUTSIDE
from kseg.volumes.labels import index_dtype
from kseg.volumes.volume_stream import VolumeStream

COMPRESSION_LEVEL = 3
"""Twice as fast as level 6 to inflate, for each patch of a training, and three times to deflate: labels are
plain, and take a quarter of a percent of a shard either way."""
BACKGROUND = b""


@dataclass(frozen=True)
class PackedLabels:
    """Class indices of a case: `packed` holds each brick's, filled up and compressed, `BACKGROUND` where there is no
    other.

    `counts`, `(classes, bricks)`, are the voxels of each class in each brick, int64; `labelled`, `(bricks,)`, those of
    all classes together, which are fewer than the brick's where nobody labelled some.
    """

    bricks: Bricks
    dtype: np.dtype
    packed: list[bytes]
    counts: np.ndarray
    planes: tuple[np.ndarray, ...]
    """Of each axis, which planes across it hold anything but background, Boolean."""

    @property
    def labelled(self) -> np.ndarray:
        """Voxels of each brick that somebody labelled, int64."""
        return self.counts.sum(axis=0)

    @property
    def partly_labelled(self) -> bool:
        """Whether there are voxels that nobody labelled."""
        return int(self.labelled.sum()) < math.prod(self.bricks.shape)

    @property
    def class_voxels(self) -> list[int]:
        """Voxels of each class, background first."""
        return self.counts.sum(axis=1).tolist()

    def brick(self, number: int) -> np.ndarray | None:
        """Return the class indices of a brick, as far as the volume goes, or None where all is background."""
        return None if self.packed[number] == BACKGROUND else self._indices(number)

    def sides(self, indices: np.ndarray) -> np.ndarray:
        """Return on which side of the foreground voxels of these class indices are (`CaseIntensities`), uint8."""
        return np.array([OUTSIDE, INSIDE, NEITHER], np.uint8)[(indices > 0) + (indices >= len(self.counts)).view("u1")]

    def window(self, index: int, max_voxels: int) -> np.ndarray | None:
        """Return where class `index` is, Boolean, in the bricks that hold it; None if none does.

        Of a window of more than `max_voxels` it is every n-th plane, row and column.
        """
        boxes = [self.bricks.box(number) for number in self._holding(index)]
        if not boxes:
            return None
        low = [min(box[axis].start for box in boxes) for axis in range(3)]
        high = [max(box[axis].stop for box in boxes) for axis in range(3)]
        step = int(np.ceil((np.prod(np.subtract(high, low), dtype=float) / max_voxels) ** (1 / 3)))
        window = np.zeros([-(-(stop - start) // step) for start, stop in zip(low, high, strict=True)], bool)
        for number, box in zip(self._holding(index), boxes, strict=True):
            offsets = [-(part.start - start) % step for part, start in zip(box, low, strict=True)]
            thinned = self._indices(number)[tuple(slice(offset, None, step) for offset in offsets)] == index
            firsts = [(part.start - start + step - 1) // step for part, start in zip(box, low, strict=True)]
            place = tuple(slice(first, first + length) for first, length in zip(firsts, thinned.shape, strict=True))
            window[place] = thinned
        return window

    def _indices(self, number: int) -> np.ndarray:
        return self.bricks.within(number, unpack(self.packed[number], self.dtype, self.bricks.size))

    def _holding(self, index: int) -> Iterator[int]:
        return iter(np.flatnonzero(self.counts[index]).tolist())


def pack_labels(labels: VolumeStream, bricks: Bricks, num_classes: int) -> PackedLabels:
    """Read a stream of class indices, `num_classes` where nobody labelled a voxel, and pack it.

    Raises:
        InputError: as reading it does.
    """
    packed, counts = [BACKGROUND] * bricks.count, np.zeros((num_classes + 1, bricks.count), np.int64)
    planes = tuple(np.zeros(length, bool) for length in bricks.shape)
    for first, slab in read_ahead(labels.read(bricks.size[labels.axis])):
        highest = slab[..., 0].max(axis=labels.axis, keepdims=True)  # plane by plane: five times as fast as by brick
        occupied = {number for number, part in bricks.cut(labels.axis, first, highest) if part.any()}
        for number, block in bricks.cut(labels.axis, first, slab[..., 0]):
            if number in occupied:
                whole = bricks.filled_up(block)
                counts[:, number] = np.bincount(whole.reshape(-1), minlength=num_classes + 1)
                counts[0, number] -= whole.size - block.size
                packed[number] = zlib.compress(whole.data, COMPRESSION_LEVEL)
                for axis, (across, part) in enumerate(zip(planes, bricks.box(number), strict=True)):
                    across[part] |= block.any(axis=other_axes(axis))
            else:
                counts[0, number] = block.size
    return PackedLabels(bricks, labels.dtype, packed, counts[:num_classes], planes)


def class_indices(packed: bytes, bricks: Bricks, number: int, num_classes: int, partly_labelled: bool) -> np.ndarray:
    """Unpack the labels of a brick of any file, as far as the volume goes, and check that they are classes.

    Where a case is `partly_labelled`, `num_classes` stands for a voxel that nobody labelled.

    Raises:
        ValueError: they are more or fewer than the brick's voxels, or one is no class.
        zlib.error: the bytes are not compressed.
    """
    block = bricks.within(number, unpack(packed, index_dtype(num_classes), bricks.size))
    if (highest := block.max()) >= num_classes + partly_labelled:
        raise ValueError(f"labels reach {highest}, the manifest has {num_classes} classes")
    return block


def unpack(packed: bytes, dtype: np.dtype, size: tuple[int, int, int]) -> np.ndarray:
    """Decompress a brick of labels, and never more than its size: a few bytes can stand for more than memory holds.

    Raises:
        ValueError: they are more or fewer.
        zlib.error: the bytes are not compressed.
    """
    if packed == BACKGROUND:
        return np.zeros(size, dtype)
    raw = zlib.decompressobj().decompress(packed, int(np.prod(size)) * dtype.itemsize + 1)
    return np.frombuffer(raw, dtype).reshape(size)
