"""Robust intensity statistics of a volume, and the scale on which a network sees its intensities."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat, model_validator

from kseg.recipe.types import Normalisation

PERCENTILES = (0.5, 99.5)
LOW, HIGH, MEAN, STD = range(4)
FLOOR_DB, UNIT_DB = -40.0, 10.0

Statistics = tuple[FiniteFloat, FiniteFloat, FiniteFloat, PositiveFloat]
"""Low, high, mean and standard deviation of a channel, as `intensity_statistics` has them."""


class Scale(BaseModel):
    """How a channel's intensities become what a network sees.

    `"zscore"`: clipped to the volume's percentiles, with mean 0 and standard deviation 1, for units that mean nothing.
    `"ct"`: the same by the dataset's `statistics`; units such as Hounsfield's mean the same in every volume, and one
    scale for all keeps that meaning (Isensee et al., nnU-Net, Nature Methods 2021).
    `"log"`: echo amplitudes in decibels, as ultrasound devices show them: 0 for the volume's mean, 1 for 10 dB more,
    nothing below 40 dB under the volume's high percentile.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Normalisation = "zscore"
    statistics: Statistics | None = None

    @model_validator(mode="after")
    def _statistics_for_ct(self) -> "Scale":
        if (self.kind == "ct") != (self.statistics is not None):
            raise ValueError("statistics go with 'ct', and with nothing else")
        return self


def intensity_statistics(image: np.ndarray) -> np.ndarray:
    """Return `(channels, 4)` float32: per channel the 0.5 and 99.5 percentile, and mean and standard deviation between.

    Mean and standard deviation are those of the voxels clipped to the two percentiles, so that a few glaring
    voxels do not decide the scale of a scan. A channel that is flat between its percentiles gets a standard
    deviation of 1.

    Args:
        image: `(x, y, z, channels)`, any real dtype.
    """
    return np.stack([_channel_statistics(image[..., channel]) for channel in range(image.shape[-1])])


def normalise(voxels: Any, statistics: Any, scales: Sequence[Scale] = (), xp: ModuleType = np) -> Any:
    """Return voxels `(..., channels)` on the scales of their channels.

    Args:
        voxels: float32, the channels last.
        statistics: `(channels, 4)`, from `intensity_statistics` of the whole volume.
        scales: one for each channel; none for `"zscore"` throughout.
        xp: the module that computes, NumPy or TensorFlow.
    """
    if any(scale.statistics for scale in scales):
        known = [scale.statistics for scale in scales]
        rows = [statistics[n] if row is None else np.array(row, np.float32) for n, row in enumerate(known)]
        statistics = xp.stack(rows)
    clipped = xp.minimum(xp.maximum(voxels, statistics[:, LOW]), statistics[:, HIGH])
    linear = (clipped - statistics[:, MEAN]) / statistics[:, STD]
    in_decibels = np.array([scale.kind == "log" for scale in scales])
    if not in_decibels.any():
        return linear
    level, mean_level = (_decibels(echo, statistics[:, HIGH], xp) for echo in (clipped, statistics[:, MEAN]))
    return xp.where(in_decibels, (level - mean_level) / UNIT_DB, linear)


def _decibels(echo: Any, highest: Any, xp: ModuleType) -> Any:
    """Amplitudes `(..., channels)` in decibels relative to `highest`, `FLOOR_DB` at least; 0 where that is 0."""
    log = xp.log if xp is np else xp.math.log
    share = echo / xp.where(highest > 0, highest, 1.0)
    lowest = 10 ** (FLOOR_DB / 20)
    return 20 / math.log(10) * log(xp.maximum(share, lowest))


def _channel_statistics(voxels: np.ndarray) -> np.ndarray:
    few_values = voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 2
    low, high, mean, variance = _of_counts(*_histogram(voxels)) if few_values else _of_planes(voxels)
    return np.array([low, high, mean, np.sqrt(variance) if low < high else 1.0], dtype=np.float32)


def _of_counts(values: np.ndarray, counts: np.ndarray) -> tuple[float, float, float, float]:
    """Percentiles, and mean and variance between them, of sorted values and how often each occurs."""
    low, high = _percentiles(values, counts)
    clipped = np.clip(values.astype(np.float64), low, high)
    mean = np.average(clipped, weights=counts)
    return low, high, mean, np.average((clipped - mean) ** 2, weights=counts)


def _of_planes(voxels: np.ndarray) -> tuple[float, float, float, float]:
    """The same of `(x, y, z)` values of any kind; copied once, for the percentiles, never widened whole."""
    low, high = map(float, np.percentile(voxels, PERCENTILES))

    def mean_of(deviation: float, power: int) -> float:
        planes = (np.clip(plane.astype(np.float64), low, high) - deviation for plane in voxels)
        return float(np.mean([np.mean(plane**power) for plane in planes]))

    mean = low + mean_of(low, 1)
    return low, high, mean, mean_of(mean, 2)


def _histogram(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted values of at most 16 bits, and their counts: all that follows needs no copy of the volume."""
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
