"""Everything that is measured of the structures of a mask, in mm, on any grid: oblique, sheared, of unlike voxels."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kseg.inference.components import BY_CORNERS, Components
from kseg.measures.area_profile import AreaProfile, area_profile, voxel_mm3
from kseg.measures.intensities import Intensity, LabelIntensities
from kseg.measures.label_sums import LabelSums, label_sums, span_along, summed, values_of
from kseg.volumes.regions import marks
from kseg.volumes.volume_stream import VolumeStream


@dataclass(frozen=True)
class Measures:
    """Of one structure; a structure that is nowhere has a volume of 0, no pieces, and no place."""

    volume_ml: float
    profile: AreaProfile
    """Areas along the axis that was asked for; its length is the structure's along that."""
    pieces: int
    """Parts that do not touch, not even at a corner (26 neighbours)."""
    touches_border: bool
    """Whether a voxel lies at the border of the volume: the structure may go on beyond, and is then cut off."""
    principal_length_mm: float | None = None
    """Along its own axis, that along which the voxels scatter most: the side of ITK's oriented bounding box."""
    principal_axis_ras: np.ndarray | None = None
    """Its direction, a unit vector (3,), towards the head; or to the front, or the right, where it lies level."""
    largest_piece_share: float | None = None
    """Of the volume, 0 to 1."""
    centroid_ras_mm: np.ndarray | None = None
    intensity: Intensity | None = None
    """Of the image, if there is one."""


def measure_structures(
    mask: np.ndarray,
    affine: np.ndarray,
    structures: Mapping[str, Collection[int]],
    axis: int = 2,
    image: VolumeStream | None = None,
) -> dict[str, Measures]:
    """Measure every structure of a mask.

    Beside the mask it takes the memory of a slab of it; and that of the image within the structures, where this holds
    fractions or more than 16 bits.

    Args:
        mask: label values, integers (x, y, z), in RAS+ order.
        affine: 4x4, voxels to RAS mm.
        structures: names, each with its label values; they may share some. If empty, each value but 0 is a structure.
        axis: 0, 1 or 2: along which lengths and areas are measured.
        image: on the same grid; its first channel is measured.

    Returns:
        The measures of each structure, in the order of `structures`.

    Raises:
        InputError: the image is damaged.

    Example:
        A bar of 2 x 2 x 5 voxels of 1 x 1 x 3 mm:

        >>> import numpy as np
        >>> from kseg.measures.structures import measure_structures
        >>> mask = np.zeros((6, 6, 9), np.uint8)
        >>> mask[2:4, 2:4, 1:6] = 7
        >>> bar = measure_structures(mask, np.diag([1.0, 1.0, 3.0, 1.0]), {"bar": [7]})["bar"]
        >>> round(bar.volume_ml, 6), bar.profile.length_mm, round(bar.profile.area_at(50), 6)
        (0.06, 15.0, 4.0)
        >>> bar.centroid_ras_mm.tolist(), bar.pieces, bar.touches_border
        ([2.5, 2.5, 9.0], 1, False)
    """
    named = structures or named_by_value(values_of(mask))
    values = {value for own in named.values() for value in own}
    if not values:
        return {}
    sums = label_sums(mask, values)
    intensities = LabelIntensities(image, mask, values) if image else None
    return {
        name: _measure(
            mask,
            affine,
            own,
            summed([sums[value] for value in own]),
            axis,
            intensities.of([*own]) if intensities else None,
        )
        for name, own in named.items()
    }


def named_by_value(values: Iterable[int], background: int = 0) -> dict[str, tuple[int, ...]]:
    """Return structures without names: each value but the background's."""
    return {f"label {value}": (value,) for value in values if value != background}


def _measure(
    mask: np.ndarray,
    affine: np.ndarray,
    values: Collection[int],
    sums: LabelSums,
    axis: int,
    intensity: Intensity | None,
) -> Measures:
    profile = area_profile(sums.counts[axis], affine, axis)
    if not sums.voxels:
        return Measures(volume_ml=0.0, profile=profile, pieces=0, touches_border=False)
    inside, voxels = mask[sums.box], affine[:3, :3]
    principal = _principal_axis(voxels @ sums.covariance @ voxels.T)
    steps_mm = principal @ voxels  # along it, of a step along x, y, z
    # From face to face: outermost corners lie half a voxel's extent beyond outermost centres.
    principal_mm = span_along(inside, values, steps_mm) + float(np.abs(steps_mm).sum())
    pieces = Components(lambda planes: marks(inside[planes], [*values]), inside.shape, BY_CORNERS)
    return Measures(
        volume_ml=sums.voxels * voxel_mm3(affine) / 1000,
        profile=profile,
        pieces=pieces.count,
        touches_border=sums.touches_border,
        principal_length_mm=principal_mm,
        principal_axis_ras=principal,
        largest_piece_share=1.0 if pieces.count == 1 else float(pieces.sizes()[1:].max()) / sums.voxels,
        centroid_ras_mm=affine[:3, :3] @ sums.centre + affine[:3, 3],
        intensity=intensity,
    )


def _principal_axis(covariance: np.ndarray) -> np.ndarray:
    """Return the direction along which voxels scatter most, a unit vector (3,), for a covariance in mm2."""
    direction = np.linalg.eigh(covariance)[1][:, -1]
    leading = next(component for component in direction[::-1] if abs(component) > 1e-9)
    return direction * np.sign(leading)
