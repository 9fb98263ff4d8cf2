"""Robust intensity statistics of a volume, and the normalisation that follows from them."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import FiniteFloat, PositiveFloat

PERCENTILES = (0.5, 99.5)
LOW, HIGH, MEAN, STD = range(4)

Statistics = tuple[FiniteFloat, FiniteFloat, FiniteFloat, PositiveFloat]
"""Low, high, mean and standard deviation of a channel, as `intensity_statistics` has them."""


def intensity_statistics(image: np.ndarray) -> np.ndarray:
    """Return `(channels, 4)` float32: per channel the 0.5 and 99.5 percentile, and mean and standard deviation between.

    Mean and standard deviation are those of the voxels clipped to the two percentiles, so that a few glaring
    voxels do not decide the scale of a scan. A channel that is flat between its percentiles gets a standard
    deviation of 1.

    Args:
        image: `(x, y, z, channels)`, any real dtype.
    """
    return np.stack([_channel_statistics(image[..., channel]) for channel in range(image.shape[-1])])


def normalise(voxels: Any, statistics: Any, xp: ModuleType = np) -> Any:
    """Clip voxels `(..., channels)` to their percentiles and bring them to mean 0 and standard deviation 1.

    Args:
        voxels: float32, the channels last.
        statistics: `(channels, 4)`, from `intensity_statistics` of the whole volume.
        xp: the module that computes, NumPy or TensorFlow.
    """
    clipped = xp.minimum(xp.maximum(voxels, statistics[:, LOW]), statistics[:, HIGH])
    return (clipped - statistics[:, MEAN]) / statistics[:, STD]


def with_fixed(statistics: Any, fixed: Sequence[Statistics | None], xp: ModuleType = np) -> Any:
    """Put the dataset's statistics in the place of a volume's own, for the channels that have them.

    Intensities with a unit, such as the Hounsfield units of CT, mean the same in every volume: one scale for all keeps
    that meaning (Isensee et al., nnU-Net, Nature Methods 2021).

    Args:
        statistics: `(channels, 4)`, the volume's own.
        fixed: for each channel the dataset's, or None to keep the volume's; empty keeps all.
        xp: the module that computes, NumPy or TensorFlow.
    """
    if not any(fixed):
        return statistics
    rows = [statistics[channel] if row is None else np.array(row, np.float32) for channel, row in enumerate(fixed)]
    return xp.stack(rows)


def _channel_statistics(voxels: np.ndarray) -> np.ndarray:
    values, counts = _histogram(voxels)
    values = values.astype(np.float64)
    low, high = _percentiles(values, counts)
    clipped = np.clip(values, low, high)
    mean = np.average(clipped, weights=counts)
    std = np.sqrt(np.average((clipped - mean) ** 2, weights=counts))
    return np.array([low, high, mean, std if low < high else 1.0], dtype=np.float32)


def _histogram(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values and their counts: percentiles and moments follow without a float copy of the volume."""
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize > 2:
        return np.unique(voxels, return_counts=True)
    lowest, highest = int(voxels.min()), int(voxels.max())
    counts = np.zeros(highest - lowest + 1, np.int64)
    for plane in voxels:  # plane by plane, because bincount widens what it counts to 8 bytes
        counts += np.bincount(plane.reshape(-1).astype(np.int32) - lowest, minlength=len(counts))
    present = np.flatnonzero(counts)
    return present + lowest, counts[present]


def _percentiles(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Percentiles by linear interpolation between ranks, as `np.percentile` has them, of values that repeat."""
    last_rank = np.cumsum(counts) - 1
    low, high = (
        np.interp(rank % 1, (0, 1), values[np.searchsorted(last_rank, (np.floor(rank), np.ceil(rank)))])
        for rank in (share / 100 * last_rank[-1] for share in PERCENTILES)
    )
    return float(low), float(high)
