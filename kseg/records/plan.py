"""The plan: what a dataset's measurements say about patches, pooling, normalisation and sampling.

Every value is a proposal: `kseg.runs.planned_recipe` puts it where the recipe says nothing. The rules follow nnU-Net
(Isensee et al., Nature Methods 2021), with figures for a network that is trained on a workstation in minutes or hours.
"""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

from kseg.recipe.presets import levels_of
from kseg.recipe.sections import Network, Recipe
from kseg.recipe.types import Normalisation, Sizes, ZeroToOne
from kseg.records.fingerprint import Fingerprint
from kseg.records.modality import is_ct, is_ultrasound
from kseg.records.plan_warnings import (
    HOUNSFIELD_DIFFERS,
    RANGES_DIFFER,
    absence_warnings,
    flat_warnings,
    range_warnings,
    shift_warnings,
    spacing_warnings,
)
from kseg.volumes.intensity_normalisation import HIGH, LOW, MEAN, Statistics

MAX_LEVELS = 5
MIN_VOXELS = 3  # along an axis after all pooling: the paper's 96 voxels, halved five times
COARSE = 3.0  # an axis whose voxels are so many times longer than the others' is coarse
COVERED = 95  # per cent of the volumes that a patch would hold whole, if memory allowed
MIN_BATCH, MAX_BATCH = 2, 4  # beyond, more steps teach more than larger ones
LEAST_SHARE = 0.001  # of a patch that the rarest class should fill; measured, docs/results.md
LEAST_PATCH = 64**3  # voxels that a patch keeps for the sake of its context, however rare a class is
EIGHT_BITS = 255
SELDOM = 0.005  # share of the voxels that the percentiles of a volume pass over

# Measured: the paper's network, float32, batches of 96^3 patches, on two cores of a server (`kseg.bench step`).
BASE_BYTES, BYTES_PER_VOXEL = 0.5e9, 1900
# The same of both presets on patches of 64^3 and 96^3, with 2 to 64 classes, and with more filters at full resolution.
FEW_CLASSES, BYTES_PER_CLASS = 8, 43
OTHER_BYTES, BYTES_PER_FILTER = 600, {"kseg": 65, "midl2021": 275}
SECONDS_PER_VOXEL = 0.7e-6


class Plan(BaseModel):
    """Proposals for a dataset.

    `pooling` holds up to `MAX_LEVELS` levels, from the finest; a network takes as many as it has. `foreground` holds
    for each channel low, high, mean and standard deviation of the foreground, in the median over the cases (empty where
    no case has any). `step_seconds` is a rough estimate for two CPU cores. `warnings` are sentences for the user.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    patch_size: Sizes
    batch_size: PositiveInt
    pooling: tuple[Sizes, ...]
    normalisation: tuple[Normalisation, ...]
    foreground: tuple[Statistics, ...]
    foreground_oversampling: ZeroToOne
    step_seconds: NonNegativeFloat
    warnings: tuple[str, ...] = ()


def make_plan(
    cases: Sequence[Fingerprint], channels: Sequence[str], class_names: Sequence[str], memory_gb: float
) -> Plan:
    """Plan for `cases`, at least one, whose volumes have `channels`; `class_names` begin with the background's.

    A training step of the planned batch is to take no more than `memory_gb` GB.
    """
    spacings_mm = np.array([case.spacing_mm for case in cases])
    target_mm = target_spacing(spacings_mm)
    of_voxel = bytes_per_voxel(len(class_names))
    patch_size, pooling, batch_size = _fit(cases, target_mm, memory_gb, of_voxel, MAX_LEVELS)
    ranges = [surroundings(cases, channel) for channel in range(len(channels))]
    differing = [_range_ratio(rows) for rows in ranges]
    shifts = [_shift(cases, channel) for channel in range(len(channels))]
    foreground = _median_foreground(cases)
    normalisation = tuple(
        _normalisation(
            name, has_unit=ratio < RANGES_DIFFER and shift < HOUNSFIELD_DIFFERS and bool(foreground), rows=rows
        )
        for name, ratio, shift, rows in zip(channels, differing, shifts, ranges, strict=True)
    )
    return Plan(
        target_spacing_mm=target_mm,
        patch_size=patch_size,
        batch_size=batch_size,
        pooling=pooling,
        normalisation=normalisation,
        foreground=foreground,
        foreground_oversampling=oversampling(_rarest_fraction(cases)),
        step_seconds=_step_seconds(patch_size, batch_size),
        warnings=(
            *spacing_warnings(spacings_mm, target_mm),
            *range_warnings(channels, differing),
            *shift_warnings(channels, shifts),
            *flat_warnings(channels, [[_is_flat(case, channel) for case in cases] for channel in range(len(channels))]),
            *absence_warnings(cases, class_names),
        ),
    )


def fitted(plan: Plan, cases: Sequence[Fingerprint], recipe: Recipe) -> Plan:
    """Return the plan of `cases` with patches for the recipe's network and memory.

    What five halvings divide can reach far beyond a volume: 96 voxels for 70, of which four need no more than 80.
    """
    of_voxel, levels = bytes_per_voxel(len(cases[0].class_voxels), recipe.network), levels_of(recipe.network)
    target_mm, memory_gb = plan.target_spacing_mm, recipe.data.memory_gb
    patch_size, pooling, batch_size = _fit(cases, target_mm, memory_gb, of_voxel, min(levels, MAX_LEVELS))
    return plan.model_copy(
        update={
            "patch_size": patch_size,
            "pooling": pooling,
            "batch_size": batch_size,
            "step_seconds": _step_seconds(patch_size, batch_size),
        }
    )


def target_spacing(spacings_mm: np.ndarray) -> tuple[float, float, float]:
    """Return the spacing, in mm, that suits `(cases, 3)` spacings: the median of each axis.

    Along an axis that is coarse beside the others the 10th percentile, so that the finer volumes keep their detail.
    """
    target = np.median(spacings_mm, axis=0)
    axis = int(np.argmax(target))
    others = np.delete(target, axis).max()
    if target[axis] >= COARSE * others:
        target[axis] = max(np.percentile(spacings_mm[:, axis], 10), others)
    x, y, z = (float(f"{value:.6g}") for value in target)
    return x, y, z


def fit_patch(
    extent: Sequence[int], spacing_mm: Sequence[float], most_voxels: float, levels: int = MAX_LEVELS
) -> tuple[Sizes, tuple[Sizes, ...]]:
    """Return patch size and pooling, of so many levels at most, for volumes of `extent` voxels along x, y, z.

    The patch holds the whole extent, rounded up to what pooling divides, if that is no more than `most_voxels`; else
    the axis that is longest in mm gives way until it is.
    """
    extent = list(extent)
    while True:
        pooling = plan_pooling(extent, spacing_mm, levels)
        multiples = [math.prod(level[axis] for level in pooling) for axis in range(3)]
        x, y, z = (-(-voxels // multiple) * multiple for voxels, multiple in zip(extent, multiples, strict=True))
        if x * y * z <= most_voxels:
            return (x, y, z), pooling
        longest = int(np.argmax(np.multiply((x, y, z), spacing_mm)))
        extent[longest] = (x, y, z)[longest] - multiples[longest]


def fit_batch(patch_size: Sequence[int], memory_gb: float, bytes_of_voxel: float = BYTES_PER_VOXEL) -> int:
    """Return how many patches a step takes: as many as fit into the memory, at most `MAX_BATCH`, at least one."""
    return max(1, min(MAX_BATCH, int(_voxels_in(memory_gb, bytes_of_voxel) // math.prod(patch_size))))


def bytes_per_voxel(num_classes: int, network: Network | None = None) -> float:
    """Return the memory that a training step takes for each voxel of its patches, roughly.

    Args:
        num_classes: the background included: each has maps of its own in network and loss.
        network: of the recipe; by default a preset.
    """
    of_network = BYTES_PER_VOXEL
    if network is not None and network.filters:
        of_network = max(of_network, OTHER_BYTES + BYTES_PER_FILTER[network.preset] * network.filters[0])
    return of_network + BYTES_PER_CLASS * max(0, num_classes - FEW_CLASSES)


def plan_pooling(extent: Sequence[int], spacing_mm: Sequence[float], levels: int = MAX_LEVELS) -> tuple[Sizes, ...]:
    """Return the pooling of each of so many levels at most, from the finest: 2 or 1 for each of x, y, z.

    An axis is halved while `MIN_VOXELS` are left of it and its voxels are less than twice as long as the shortest
    that can still be halved: pooling brings voxels nearer to cubes.
    """
    sizes, lengths = np.array(extent), np.array(spacing_mm, float)
    pooling: list[Sizes] = []
    for _ in range(levels):
        halvable = -(-sizes // 2) >= MIN_VOXELS
        if not halvable.any():
            break
        halved = halvable & (lengths < 2 * lengths[halvable].min())
        x, y, z = np.where(halved, 2, 1).tolist()
        pooling.append((x, y, z))
        sizes, lengths = -(-sizes // pooling[-1]), lengths * pooling[-1]
    return tuple(pooling)


def oversampling(rarest_fraction: float) -> float:
    """Return the share of patches to centre on foreground, given the share of voxels in the rarest class.

    A third, as nnU-Net, for a tenth of the voxels or more, and a sixth more for each factor of ten below; 0.9 at most.
    """
    if rarest_fraction <= 0:
        return 0.9
    return round(min(0.9, 1 / 3 + max(0.0, math.log10(0.1 / rarest_fraction)) / 6), 2)


def _fit(
    cases: Sequence[Fingerprint], target_mm: Sequence[float], memory_gb: float, of_voxel: float, levels: int
) -> tuple[Sizes, tuple[Sizes, ...], int]:
    """Patch size, pooling and batch size that suit the volumes, the rarest class and the memory."""
    extent = np.percentile([case.shape for case in cases], COVERED, axis=0)
    in_memory = _voxels_in(memory_gb, of_voxel) / MIN_BATCH
    most_voxels = min(in_memory, max(_rarest_voxels(cases) / LEAST_SHARE, LEAST_PATCH))
    patch_size, pooling = fit_patch(np.ceil(extent).astype(int).tolist(), target_mm, most_voxels, levels)
    return patch_size, pooling, fit_batch(patch_size, memory_gb, of_voxel)


def _step_seconds(patch_size: Sizes, batch_size: int) -> float:
    return float(f"{math.prod(patch_size) * batch_size * SECONDS_PER_VOXEL:.2g}")


def _voxels_in(memory_gb: float, bytes_of_voxel: float) -> float:
    return (memory_gb * 1e9 - BASE_BYTES) / bytes_of_voxel


def _normalisation(channel: str, has_unit: bool, rows: Sequence[Statistics]) -> Normalisation:
    """`"ct"` and `"log"` for what is named so; 8 bits of ultrasound are a picture that a device has compressed."""
    if is_ct(channel) and has_unit:
        return "ct"
    if is_ultrasound(channel) and np.median([row[HIGH] for row in rows]) > EIGHT_BITS:
        return "log"
    return "zscore"


def _median_foreground(cases: Sequence[Fingerprint]) -> tuple[Statistics, ...]:
    rows = [case.inside for case in cases if case.inside]
    if not rows:
        return ()
    return tuple(tuple(map(float, channel)) for channel in np.median(rows, axis=0))  # type: ignore[misc]


def _range_ratio(rows: Sequence[Statistics]) -> float:
    """How many times the widest range of intensities, 0.5 to 99.5 percentile, is wider than the narrowest."""
    ranges = [row[HIGH] - row[LOW] for row in rows if row[HIGH] > row[LOW]]
    return max(ranges) / min(ranges) if ranges else 1.0


def _shift(cases: Sequence[Fingerprint], channel: int) -> float:
    """How far the foreground's mean of any case lies from that of most."""
    means = np.array([case.inside[channel][MEAN] for case in cases if case.inside])
    return float(np.abs(means - np.median(means)).max()) if means.size else 0.0


def surroundings(cases: Sequence[Fingerprint], channel: int) -> list[Statistics]:
    """Each case's statistics outside the foreground, or inside where there is nothing else.

    Of a case that is labelled in part they are those of all voxels: what is labelled as background may be a rim.
    """
    return [(case.everywhere or case.outside or case.inside)[channel] for case in cases]


def _is_flat(case: Fingerprint, channel: int) -> bool:
    """Whether a channel has one value in so many voxels that the percentiles of the whole volume are that value."""
    if case.everywhere:
        return case.everywhere[channel][LOW] == case.everywhere[channel][HIGH]
    sides = ((case.outside, case.class_voxels[0]), (case.inside, sum(case.class_voxels[1:])))
    often = [side[channel] for side, voxels in sides if side and voxels > SELDOM * sum(case.class_voxels)]
    return len({value for row in often for value in (row[LOW], row[HIGH])}) == 1


def _fractions(cases: Sequence[Fingerprint]) -> np.ndarray:
    """Share of the labelled voxels of each case in each class, `(cases, classes)`."""
    return np.array([np.divide(case.class_voxels, sum(case.class_voxels)) for case in cases])


def _rarest_fraction(cases: Sequence[Fingerprint]) -> float:
    """Share of the voxels in the rarest foreground class, where it occurs: the median over the cases."""
    return min(_medians_where_present(_fractions(cases)), default=0.0)


def _rarest_voxels(cases: Sequence[Fingerprint]) -> float:
    """Voxels of the smallest foreground class, where it occurs: the median over the cases; infinite where none does.

    Of a case that is labelled in part, as many times more as it has voxels for each labelled one.
    """
    sizes = [np.multiply(case.class_voxels, math.prod(case.shape) / sum(case.class_voxels)) for case in cases]
    return min(_medians_where_present(np.array(sizes)), default=math.inf)


def _medians_where_present(of_classes: np.ndarray) -> list[float]:
    """Median over the cases, each a row, of each foreground class that occurs in some."""
    present = [column[column > 0] for column in of_classes[:, 1:].T]
    return [float(np.median(column)) for column in present if len(column)]
