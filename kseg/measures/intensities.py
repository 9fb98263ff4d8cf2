"""Mean, standard deviation and median of an image within each label value, read slab by slab, once.

Whole numbers of up to 16 bits are counted. Others are kept, those that lie in a structure, until their median is known:
it cannot be told from less.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kseg.measures.label_sums import places_of
from kseg.volumes.volume_stream import VolumeStream

PLANES = 8
"""Read at once: few, because indices of voxels take 8 bytes each."""


@dataclass(frozen=True)
class Intensity:
    """Of the voxels of a structure: in the image's own numbers; the deviation is the sample's, None of a voxel."""

    mean: float
    deviation: float | None
    median: float


class LabelIntensities:
    """The intensities of an image by label value.

    Args:
        image: (x, y, z, channels); its first channel is measured.
        mask: label values, integers (x, y, z), on the same grid.
        values: to measure.

    Raises:
        InputError: the image is damaged.
    """

    def __init__(self, image: VolumeStream, mask: np.ndarray, values: Iterable[int]) -> None:
        wanted = np.array(sorted(set(values)), np.int64)
        self._counted = image.dtype.kind in "iu" and image.dtype.itemsize <= 2
        self._lowest = int(np.iinfo(image.dtype).min) if self._counted else 0
        self._found: dict[int, list[np.ndarray]] = {value: [] for value in wanted.tolist()}
        along = np.moveaxis(mask, image.axis, 0)
        for first, array in image.read(PLANES):
            planes = np.moveaxis(array[..., 0], image.axis, 0)
            number, *there = places_of(along[first : first + len(planes)], wanted)
            intensities = planes[tuple(there)]
            order = np.argsort(number.astype(np.uint16), kind="stable")  # of 16 bits it takes linear time
            starts = np.searchsorted(number[order], np.arange(1, len(wanted)))
            for value, own in zip(self._found, np.split(intensities[order], starts), strict=True):
                if own.size:
                    self._add(value, own)

    def of(self, values: Sequence[int]) -> Intensity | None:
        """Return those of several label values together; None where there is no voxel of them."""
        parts = [part for value in values for part in self._found[value]]
        if not parts:
            return None
        if not self._counted:
            return _of_values(np.concatenate(parts))
        return _of_counts(np.sum(parts, axis=0), self._lowest)

    def _add(self, value: int, intensities: np.ndarray) -> None:
        if not self._counted:
            self._found[value].append(intensities)
            return
        size = 2 ** (8 * intensities.dtype.itemsize)
        counts = np.bincount(intensities.astype(np.int64) - self._lowest, minlength=size)
        self._found[value] = [counts + self._found[value][0] if self._found[value] else counts]


def _of_values(values: np.ndarray) -> Intensity:
    mean = float(values.mean(dtype=np.float64))
    deviation = float(values.std(dtype=np.float64, ddof=1)) if len(values) > 1 else None
    return Intensity(mean, deviation, float(np.median(values)))


def _of_counts(counts: np.ndarray, lowest: int) -> Intensity:
    voxels = int(counts.sum())
    values = np.arange(lowest, lowest + len(counts))
    mean = float(counts @ values) / voxels
    deviation = float(np.sqrt(counts @ (values - mean) ** 2 / (voxels - 1))) if voxels > 1 else None
    middle = np.searchsorted(np.cumsum(counts), [(voxels - 1) // 2, voxels // 2], side="right")
    return Intensity(mean, deviation, float(values[middle].mean()))
