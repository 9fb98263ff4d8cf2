"""Opening a volume of any format: what it is, and its planes in the order of the file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import open_dicom
from kseg.volumes.formats.itk import open_itk
from kseg.volumes.formats.names import DICOM, NIFTI_EXTENSIONS, split_name
from kseg.volumes.formats.nifti import open_nifti
from kseg.volumes.formats.stored import Read
from kseg.volumes.geometry import check_affine
from kseg.volumes.volume import StoredGeometry


@dataclass(frozen=True)
class StoredFile:
    """A volume in a file, its voxels not read yet.

    `shape` is (i, j, k) or (i, j, k, channels), `dtype` one of real numbers; `read` yields the planes of k, all of
    them in order (`kseg.volumes.formats.stored.Read`).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    geometry: StoredGeometry
    read: Read


def open_stored(path: Path) -> StoredFile:
    """Read the header of a volume.

    Raises:
        InputError: the file is missing, damaged as far as its header shows, empty, of another file type or rank, or
            without a usable affine.
    """
    if not path.exists():
        raise InputError(f"'{path}' does not exist: correct the path.")
    extension = split_name(path)[1]
    opener = open_dicom if extension == DICOM else open_nifti if extension in NIFTI_EXTENSIONS else open_itk
    header = opener(path)
    if header.unstated:
        raise InputError(f"'{path}' does not say {header.unstated}: export it with its geometry.")
    if len(header.shape) not in (3, 4):
        raise InputError(f"'{path}' must have three axes, or four with channels: received the shape {header.shape}.")
    if 0 in header.shape:
        raise InputError(f"'{path}' is empty: received the shape {header.shape}; export it anew.")
    if header.dtype.kind not in "biuf":
        raise InputError(f"'{path}' must hold real numbers: received the type {header.dtype}; export grey values.")
    i, j, k = header.shape[:3]
    affine = check_affine(header.affine, f"'{path}'")
    geometry = StoredGeometry((i, j, k), affine, extension, header.placed)
    return StoredFile(header.shape, header.dtype, geometry, header.read)
