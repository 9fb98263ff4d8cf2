"""Robust intensity statistics of a volume, and the scale on which a network sees its intensities."""

import math
from collections.abc import Sequence
from copy import copy
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat, model_validator

from kseg.recipe.types import Normalisation

PERCENTILES = (0.5, 99.5)
LOW, HIGH, MEAN, STD = range(4)
OUTSIDE, INSIDE, NEITHER = range(3)
FLOOR_DB, UNIT_DB = -40.0, 10.0
MAX_SAMPLE_VOXELS = 2**24
WIDENED_AT_ONCE = 2**16

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
        if self.statistics is not None:
            with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
                row = np.array(self.statistics, np.float32)
                ends = normalise(row[[LOW, HIGH], None], row[None])
            if not (np.isfinite(ends).all() and row[STD] >= np.finfo(np.float32).tiny and row[LOW] <= row[HIGH]):
                raise ValueError(f"statistics {self.statistics}: no scale of float32 from a low to a high")
        return self


def intensity_statistics(image: np.ndarray) -> np.ndarray:
    """Return `(channels, 4)` float32: per channel the 0.5 and 99.5 percentile, and mean and standard deviation between.

    Mean and standard deviation are those of the voxels clipped to the two percentiles, so that a few glaring
    voxels do not decide the scale of a scan. A channel that is flat between its percentiles gets a standard
    deviation of 1. Of more than `MAX_SAMPLE_VOXELS` voxels of a type with many values, a regular sample stands for all.

    Args:
        image: `(x, y, z, channels)`, any real dtype.
    """
    intensities = CaseIntensities(image.dtype, image.shape[3], math.prod(image.shape[:3]))
    for x in range(len(image)):
        intensities.add(image[x : x + 1], (x, 0, 0))
    return intensities.statistics()


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


class CaseIntensities:
    """The intensities of a case that passes by block by block, outside and inside its foreground.

    Voxels that nobody labelled are on neither side, but are among all.
    """

    def __init__(self, dtype: np.dtype, channels: int, voxels: int) -> None:
        self._sides = [[_Intensities(dtype) for _ in range(channels)] for _ in (OUTSIDE, INSIDE, NEITHER)]
        self._step = 1 if _has_few_values(dtype) else -(-voxels // MAX_SAMPLE_VOXELS)

    def add(self, block: np.ndarray, start: Sequence[int], sides: np.ndarray | None = None) -> None:
        """Add `(x, y, z, channels)` voxels that begin at voxel `start`.

        `sides` `(x, y, z)` says of each whether it is `OUTSIDE` the foreground, as all are without, `INSIDE`, or
        `NEITHER`, since nobody labelled it.

        Which voxels of a large case are in the sample follows from where they are, not from how the blocks are cut.
        """
        taken = None
        if self._step > 1:
            x, y, z = (np.arange(first, first + n) for first, n in zip(start, block.shape[:3], strict=True))
            taken = (x[:, None, None] + y[:, None] + z) % self._step == 0
        for side in (OUTSIDE,) if sides is None else (OUTSIDE, INSIDE, NEITHER):
            here = None if sides is None else sides == side
            if taken is not None:
                here = taken if here is None else here & taken
            if here is not None and not here.any():  # as a rule none is on neither side
                continue
            for channel, intensities in enumerate(self._sides[side]):
                voxels = block[..., channel]
                intensities.add(voxels if here is None else voxels[here])

    def statistics(self) -> np.ndarray:
        """Return `(channels, 4)` float32 of all voxels, as `intensity_statistics` has them."""
        channels = zip(*self._sides, strict=True)
        return np.array([_joined(sides).statistics() for sides in channels], np.float32)

    def of_foreground(self, inside: bool) -> np.ndarray:
        """Return the same of the voxels inside, or outside, the foreground; no row at all where there are none."""
        rows = [side.statistics() for side in self._sides[INSIDE if inside else OUTSIDE] if side.count]
        return np.array(rows, np.float32).reshape(-1, 4)


class _Intensities:
    """Voxels of one channel: how often each value occurs, or all of them where a type has many values."""

    def __init__(self, dtype: np.dtype) -> None:
        few_values = _has_few_values(dtype)
        self._signed = dtype.kind == "i"
        self._counts = np.zeros(2 ** (8 * dtype.itemsize) if few_values else 0, np.int64)  # by the value's bits
        self._values: list[np.ndarray] = []
        self.count = 0

    def add(self, voxels: np.ndarray) -> None:
        self.count += voxels.size
        if len(self._counts):
            self._count(np.ascontiguousarray(voxels).reshape(-1).view(voxels.dtype.str.replace("i", "u")))
        else:
            self._values.append(voxels.reshape(-1).copy())

    def _count(self, bits: np.ndarray) -> None:
        if not bits.any():  # where no beam came an ultrasound volume is 0
            self._counts[0] += bits.size
        elif bits.itemsize == 1 and bits.size % 2 == 0:  # two at once: half the steps
            pairs = np.bincount(bits.view(np.uint16), minlength=2**16).reshape(256, 256)
            self._counts += pairs.sum(axis=0) + pairs.sum(axis=1)
        else:
            self._counts += np.bincount(bits, minlength=len(self._counts))

    def statistics(self) -> tuple[float, float, float, float]:
        """Low, high, mean and standard deviation."""
        if len(self._counts):
            below_zero = len(self._counts) // 2 if self._signed else 0
            counts = np.roll(self._counts, below_zero)
            present = np.flatnonzero(counts)
            low, high, mean, variance = _of_counts(present - below_zero, counts[present])
        else:
            low, high, mean, variance = _of_values(np.concatenate(self._values))
        return low, high, mean, math.sqrt(variance) if low < high else 1.0


def _joined(parts: Sequence[_Intensities]) -> _Intensities:
    both = copy(parts[0])
    both.count = sum(part.count for part in parts)
    both._counts = np.sum([part._counts for part in parts], axis=0)
    both._values = [voxels for part in parts for voxels in part._values]
    return both


def _has_few_values(dtype: np.dtype) -> bool:
    """Whether the values of a type can be counted one by one."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


def _of_counts(values: np.ndarray, counts: np.ndarray) -> tuple[float, float, float, float]:
    """Percentiles, and mean and variance between them, of sorted values and how often each occurs."""
    low, high = _percentiles(values, counts)
    clipped = np.clip(values.astype(np.float64), low, high)
    mean = float(np.average(clipped, weights=counts))
    return low, high, mean, float(np.average((clipped - mean) ** 2, weights=counts))


def _of_values(values: np.ndarray) -> tuple[float, float, float, float]:
    """The same of values one by one, which are brought into another order, and never widened whole."""
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = map(float, np.percentile(values, PERCENTILES, overwrite_input=True))
    if not (math.isfinite(low) and math.isfinite(high)):  # between -3e38 and 3e38 there is no difference in float32
        low, high = map(float, np.percentile(values.astype(np.float64), PERCENTILES))

    def mean_of(deviation: float, power: int) -> float:
        pieces = (values[first : first + WIDENED_AT_ONCE] for first in range(0, len(values), WIDENED_AT_ONCE))
        return sum(
            float(np.sum((np.clip(piece.astype(np.float64), low, high) - deviation) ** power)) for piece in pieces
        ) / len(values)

    mean = low + mean_of(low, 1)
    return low, high, mean, mean_of(mean, 2)


def _percentiles(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Percentiles by linear interpolation between ranks, as `np.percentile` has them, of values that repeat."""
    last_rank = np.cumsum(counts) - 1
    low, high = (
        np.interp(rank % 1, (0, 1), values[np.searchsorted(last_rank, (np.floor(rank), np.ceil(rank)))])
        for rank in (share / 100 * last_rank[-1] for share in PERCENTILES)
    )
    return float(low), float(high)
