"""What the page asks for of a case: copies of its volumes as NIfTI files, and the measures of its masks."""

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np

from kseg.measures.structures import measure_structures
from kseg.viewer.reduced_volume import (
    Box,
    Copy,
    Factors,
    box_at,
    box_of,
    boxed,
    reduced_image,
    reduced_labels,
    reduction_factors,
)
from kseg.viewer.scene import OpenCase, SceneCase, Structure
from kseg.volumes.volume_stream import VolumeStream

FIRST_LOOK_VOXELS = 2**23
"""Of a copy: of these 8 million a browser without a graphics card makes some 300 MB, with a mask (docs/viewing.md)."""
DETAIL_SIDE = 200
"""Of the box around a point that is shown voxel by voxel: as many voxels as `FIRST_LOOK_VOXELS`."""


def image_file(case: SceneCase, channel: int, at_mm: Sequence[float] | None = None) -> bytes:
    """Return a channel of a case's image, as the bytes of a NIfTI file.

    Args:
        case: the case.
        channel: counted from 0.
        at_mm: RAS mm, around which a box is shown voxel by voxel; None for a copy of the whole.

    Raises:
        InputError: a file is damaged.
    """
    image = case.open().image
    factors, box = _part(image, at_mm)
    return nifti(reduced_image(image, channel, factors, box), factors)


def mask_file(
    case: SceneCase, mask: int, structures: Sequence[Structure], at_mm: Sequence[float] | None = None
) -> bytes:
    """Return a mask of a case, by its number, as `image_file` does its image; it holds 1 for the first structure, 2 ...

    Raises:
        InputError: a file is damaged.
    """
    opened = case.open()
    labels = opened.masks[case.masks[mask]]
    factors, box = _part(opened.image, at_mm)
    return nifti(reduced_labels(labels, [one.values for one in structures], factors, box), factors)


def measured_masks(opened: OpenCase, structures: Sequence[Structure]) -> dict[str, list[dict[str, Any]]]:
    """Return for each mask of a case what is measured of the structures that it has, of all voxels.

    Of a mask that was labelled in part nothing is: its volumes would be those of what somebody labelled.

    Raises:
        InputError: a file is damaged, or does not fit into memory.
    """
    return {name: _measured(stream, structures) for name, stream in opened.masks.items()}


def nifti(copy: Copy, factors: Factors) -> bytes:
    """Return a copy as the bytes of a NIfTI file, whose description says of which blocks it is made."""
    image = nib.Nifti1Image(copy.array, copy.affine, dtype=copy.array.dtype)
    image.set_sform(copy.affine, 1)
    image.header.set_xyzt_units("mm")
    if (copy.slope, copy.intercept) != (1.0, 0.0):
        image.header.set_slope_inter(copy.slope, copy.intercept)
    if factors != (1, 1, 1):
        image.header["descrip"] = f"blocks of {' x '.join(map(str, factors))} voxels"
    return image.to_bytes()


def _part(image: VolumeStream, at_mm: Sequence[float] | None) -> tuple[Factors, Box | None]:
    if at_mm is None:
        return reduction_factors(image.shape, image.spacing_mm, FIRST_LOOK_VOXELS), None
    voxel = np.linalg.inv(image.affine) @ [*at_mm, 1.0]
    return (1, 1, 1), box_at(image.shape, voxel[:3].tolist(), DETAIL_SIDE)


def _measured(stream: VolumeStream, structures: Sequence[Structure]) -> list[dict[str, Any]]:
    """Measure the structures that a mask has; in memory is the box that holds them, not the volume."""
    unlabelled = [value for one in structures if one.unlabelled for value in one.values]
    if unlabelled and box_of(stream, unlabelled) is not None:
        return []
    named = {one.name: one.values for one in structures if not one.unlabelled}
    box = box_of(stream, [value for values in named.values() for value in values])
    if box is None:
        return []
    labels = boxed(stream, box)
    rows = []
    for structure, found in measure_structures(labels.array[..., 0], labels.affine, named).items():
        if found.centroid_ras_mm is None:  # it is nowhere
            continue
        rows.append(
            {
                "structure": structure,
                "volume_ml": found.volume_ml,
                "length_mm": found.profile.length_mm,
                "largest_area_mm2": found.profile.largest()[0],
                "pieces": found.pieces,
                "touches_border": found.touches_border,
                "centroid_ras_mm": found.centroid_ras_mm.tolist(),
            }
        )
    return rows
