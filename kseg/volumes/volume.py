"""A volume in memory, and what must be kept of its file to write a prediction that overlays it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseg.volumes.geometry import spacing_mm


@dataclass(frozen=True)
class StoredGeometry:
    """The grid as the file stores it.

    `shape` is (i, j, k), the file's own index order (i runs fastest on disk); `affine`, 4x4 float64, maps
    (i, j, k) to RAS mm; `extension` is the file type: ".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr" or
    "dicom" for a DICOM series or file. `placed` is False for a file that says nowhere where it lies:
    its affine is then a convention, and a prediction must stay silent too.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    extension: str
    placed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for JSON; `from_json` reads it back to the bit."""
        return {
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "extension": self.extension,
            "placed": self.placed,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "StoredGeometry":
        """Inverse of `to_json`."""
        i, j, k = entry["shape"]
        return cls((i, j, k), np.array(entry["affine"], np.float64), entry["extension"], entry["placed"])


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
