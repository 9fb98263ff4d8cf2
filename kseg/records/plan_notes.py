"""Notes on a plan that depend on the recipe: what to give with a training, or to prepare otherwise."""

from collections.abc import Sequence

import numpy as np

from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest
from kseg.records.modality import says_nothing
from kseg.records.plan import surroundings
from kseg.volumes.intensity_normalisation import HIGH, LOW, Statistics

AIR, TISSUE = -900, 50  # Hounsfield units
LEAST_CONTEXT, ENOUGH_CONTEXT = 0.01, 0.02  # share of a volume that a patch sees


def plan_notes(manifest: Manifest, recipe: Recipe) -> list[str]:
    """Return what is to be said of a dataset's plan beside its own warnings.

    Args:
        manifest: of the dataset.
        recipe: as the user wrote it: what it settles itself is not said.
    """
    cases = manifest.to_learn_from
    notes = []
    if recipe.data.normalisation is None and manifest.plan.foreground:
        ranges = [surroundings(cases, channel) for channel in range(len(manifest.channels))]
        notes += _hounsfield_notes(manifest.channels, ranges, manifest.plan.normalisation)
    plan = manifest.plan_for(recipe)
    size = recipe.patches.size if "size" in recipe.patches.model_fields_set else plan.patch_size
    extent = np.median([case.shape for case in cases], axis=0).tolist()
    return notes + _context_notes(extent, size, plan.target_spacing_mm)


def _hounsfield_notes(
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


def _context_notes(extent: Sequence[float], patch_size: Sequence[int], spacing_mm: Sequence[float]) -> list[str]:
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
