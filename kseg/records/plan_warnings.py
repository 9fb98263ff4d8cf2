"""Sentences of a plan for the user: what in the dataset asks for a look, and what to do about it."""

from collections.abc import Sequence

import numpy as np

from kseg.records.fingerprint import Fingerprint
from kseg.records.modality import is_ct, says_nothing
from kseg.volumes.intensity_normalisation import HIGH, LOW, Statistics

SPACINGS_DIFFER = 0.1  # as a share of the target's
RANGES_DIFFER = 5.0  # times
AIR, TISSUE = -900, 50  # Hounsfield units
LEAST_CONTEXT, ENOUGH_CONTEXT = 0.01, 0.02  # share of a volume that a patch sees
HOUNSFIELD_DIFFERS = 500  # tissue differs by less from scan to scan; zero points that files leave out are 1000 or 1024


def spacing_warnings(spacings_mm: np.ndarray, target_mm: Sequence[float]) -> list[str]:
    """Voxels, `(cases, 3)` spacings, are not of one size."""
    if np.abs(spacings_mm / target_mm - 1).max() <= SPACINGS_DIFFER:
        return []
    low, high = (
        " x ".join(f"{value:g}" for value in row) for row in (spacings_mm.min(axis=0), spacings_mm.max(axis=0))
    )
    target = ", ".join(f"{value:g}" for value in target_mm)
    return [
        f"voxels differ between cases, from {low} to {high} mm: for better masks set data.spacing_mm = [{target}] and "
        "prepare again with --force; scans to be predicted are then resampled too, and their masks brought back"
    ]


def range_warnings(channels: Sequence[str], ratios: Sequence[float]) -> list[str]:
    """The widest range of a channel's intensities is `ratios` times the narrowest."""
    return [
        f"intensities of '{name}' range {ratio:.0f} times wider in some cases than in others: "
        + ("is it really CT? " if is_ct(name) else "")
        + "each volume is normalised by its own percentiles, unless data.normalisation says otherwise"
        for name, ratio in zip(channels, ratios, strict=True)
        if ratio >= RANGES_DIFFER
    ]


def shift_warnings(channels: Sequence[str], shifts: Sequence[float]) -> list[str]:
    """Some files of a dataset keep CT with another zero point, `shifts` away, or as grey values of a window."""
    return [
        f"intensities of '{name}' lie {shift:.0f} from the others' in some cases: are all in Hounsfield units? each "
        "volume is normalised by its own percentiles, unless data.normalisation says otherwise"
        for name, shift in zip(channels, shifts, strict=True)
        if is_ct(name) and shift >= HOUNSFIELD_DIFFERS
    ]


def hounsfield_warnings(
    channels: Sequence[str], ranges: Sequence[Sequence[Statistics]], planned: Sequence[str]
) -> list[str]:
    """A channel that no name describes has in every case, whose statistics are its `ranges`, air as CT has it.

    `planned` are the normalisations of all channels.
    """
    told = []
    for number, (name, rows) in enumerate(zip(channels, ranges, strict=True)):
        if says_nothing(name) and all(row[LOW] <= AIR and row[HIGH] > TISSUE for row in rows):
            words = ", ".join(f'"{"ct" if other == number else kind}"' for other, kind in enumerate(planned))
            told.append(
                f"'{name}' looks like CT in Hounsfield units, which mean the same in every scan: if it is, train with "
                f"data.normalisation=[{words}]; without it each volume is normalised by its own percentiles"
            )
    return told


def flat_warnings(channels: Sequence[str], ranges: Sequence[Sequence[Statistics]]) -> list[str]:
    """A channel has one value in nearly all voxels of some case: clipped to its percentiles it is nothing else."""
    flat = [sum(row[LOW] == row[HIGH] for row in rows) for rows in ranges]
    return [
        f"'{name}' has the same value in 99 % of the voxels of {count} of {len(rows)} cases: what differs is cut off "
        "before a network sees it; crop the scans to what was recorded, or leave the channel out"
        for name, rows, count in zip(channels, ranges, flat, strict=True)
        if count
    ]


def context_warnings(extent: Sequence[float], patch_size: Sequence[int], spacing_mm: Sequence[float]) -> list[str]:
    """A patch sees next to nothing of volumes of `extent` voxels, of which each has `spacing_mm`."""
    whole = np.array(extent)
    share = float(np.prod(np.minimum(patch_size, whole) / whole))
    if share >= LEAST_CONTEXT:
        return []
    coarser = np.array(spacing_mm) * (ENOUGH_CONTEXT / share) ** (1 / 3)
    seen_mm = " x ".join(f"{length:.0f}" for length in np.multiply(patch_size, spacing_mm))
    return [
        f"a patch of {' x '.join(map(str, patch_size))} voxels sees {seen_mm} mm, {share:.1%} of a volume: where that "
        f"is too little to tell structures apart, set data.spacing_mm = [{', '.join(f'{one:.2g}' for one in coarser)}] "
        f"and prepare again with --force: a volume is then cut into {ENOUGH_CONTEXT / share:.0f} times fewer windows"
    ]


def absence_warnings(cases: Sequence[Fingerprint], class_names: Sequence[str]) -> list[str]:
    """A class has no voxel in any case."""
    background, *found = np.sum([case.class_voxels for case in cases], axis=0)
    told = [
        f"no case to train on has a voxel of '{name}': leave it out of the labels, or add scans with it"
        for name, voxels in zip(class_names[1:], found, strict=True)
        if not voxels
    ]
    if not background:
        told.append(
            f"no case to train on has a voxel that is labelled as '{class_names[0]}', so that a network learns that "
            "everything is foreground: label some of what lies around the structures, too"
        )
    return told
