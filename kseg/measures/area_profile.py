"""The cross-sectional areas of a structure, slice by slice along an axis of the voxel grid.

An axis goes along one edge of the voxels. Where edges are not perpendicular to each other (a tilted gantry) a slice is
not perpendicular to the axis: its area is then projected onto the plane that is. Areas times the distance of slices
along the axis are so the volume, whatever the grid.
"""

from dataclasses import dataclass

import numpy as np

PERCENTS = tuple(range(10, 100, 10))
"""Of a structure's length: where its areas are told."""


@dataclass(frozen=True)
class AreaProfile:
    """Areas of the slices from the first that has the structure to the last; none where it is nowhere.

    Args:
        first: index of the first slice, in RAS+ order.
        areas_mm2: of each slice, float64 (slices,); 0 within a gap.
        slice_mm: distance of two slices along the axis.

    Example:
        Three slices of 2 mm; the structure is 6 mm long, and half of that lies in the middle of the second slice:

        >>> import numpy as np
        >>> from kseg.measures.area_profile import AreaProfile
        >>> profile = AreaProfile(first=7, areas_mm2=np.array([10.0, 30.0, 20.0]), slice_mm=2.0)
        >>> profile.length_mm, profile.area_at(50), profile.largest()
        (6.0, 30.0, (30.0, 3.0, 8))
    """

    first: int
    areas_mm2: np.ndarray
    slice_mm: float

    @property
    def length_mm(self) -> float:
        """From the beginning of the first slice to the end of the last."""
        return len(self.areas_mm2) * self.slice_mm

    @property
    def places_mm(self) -> np.ndarray:
        """Of each slice its centre, in mm from the structure's beginning."""
        return (np.arange(len(self.areas_mm2)) + 0.5) * self.slice_mm

    def largest(self) -> tuple[float, float, int]:
        """Return the largest area in mm2, its place in mm from the beginning, and its slice; the first of equals."""
        index = int(np.argmax(self.areas_mm2))
        return float(self.areas_mm2[index]), float(self.places_mm[index]), self.first + index

    def area_at(self, percent: float) -> float:
        """Return the area in mm2 at a part of the length, linear between the centres of slices."""
        return float(np.interp(percent / 100 * self.length_mm, self.places_mm, self.areas_mm2))


def area_profile(counts: np.ndarray, affine: np.ndarray, axis: int) -> AreaProfile:
    """Return the areas of a structure of which each slice has so many voxels.

    Args:
        counts: voxels in each slice of the whole volume, integers (slices,).
        affine: 4x4, voxels to mm.
        axis: 0, 1 or 2, across which the slices lie.
    """
    slice_mm = float(np.linalg.norm(affine[:3, axis]))
    face_mm2 = voxel_mm3(affine) / slice_mm
    there = np.flatnonzero(counts)
    first, end = (int(there[0]), int(there[-1]) + 1) if there.size else (0, 0)
    return AreaProfile(first, counts[first:end] * face_mm2, slice_mm)


def voxel_mm3(affine: np.ndarray) -> float:
    """Return the volume of a voxel; that of a box where its edges are perpendicular."""
    return float(abs(np.linalg.det(affine[:3, :3])))
