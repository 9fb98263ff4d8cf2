"""A volume in memory, and what must be kept of its file to write a prediction that overlays it."""

from dataclasses import dataclass

import numpy as np

from kseg.volumes.geometry import spacing_mm
from kseg.volumes.stored_geometry import StoredGeometry


@dataclass(frozen=True)
class Volume:
    """Voxels in RAS+ order with their place in space.

    `array` is (x, y, z) or (x, y, z, channels); `affine`, 4x4 float64, maps (x, y, z) to RAS mm; `stored` is
    the grid of the file it came from.
    """

    array: np.ndarray
    affine: np.ndarray
    stored: StoredGeometry

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxels along x, y and z."""
        return spacing_mm(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = self.array.shape[:3]
        return x, y, z
