"""Sentences of a plan for the user: what in the dataset asks for a look, and what to do about it."""

from collections.abc import Sequence

import numpy as np

from kseg.records.fingerprint import Fingerprint
from kseg.records.modality import is_ct

SPACINGS_DIFFER = 0.1  # as a share of the target's
RANGES_DIFFER = 5.0  # times
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


def flat_warnings(channels: Sequence[str], flat: Sequence[Sequence[bool]]) -> list[str]:
    """A channel has one value in nearly all voxels of some case: clipped to its percentiles it is nothing else."""
    return [
        f"'{name}' has the same value in 99 % of the voxels of {sum(cases)} of {len(cases)} cases: what differs is cut "
        "off before a network sees it; crop the scans to what was recorded, or leave the channel out"
        for name, cases in zip(channels, flat, strict=True)
        if any(cases)
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
