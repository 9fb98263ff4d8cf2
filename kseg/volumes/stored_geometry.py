"""The voxel grid of a file as the file stores it: what must be kept to write a prediction that overlays it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


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
