"""Opening a volume of any format: what it is, and its planes in the order of the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.disk_errors import refusal
from kseg.console.errors import InputError
from kseg.recipe.types import Spacing
from kseg.volumes.formats.extensions import DICOM, NIFTI_EXTENSIONS, is_stored, is_unicode, split_name
from kseg.volumes.formats.header import REAL, Header, Read
from kseg.volumes.geometry import check_affine, spacing_mm
from kseg.volumes.stored_geometry import StoredGeometry

ALIKE = 0.01  # share by which a spacing that is typed may differ from the one that a file states


@dataclass(frozen=True)
class StoredFile:
    """A volume in a file, its voxels not read yet.

    `shape` is (i, j, k) or (i, j, k, channels), `dtype` one of real numbers; `read` yields the planes of k, all of
    them in order (`kseg.volumes.formats.header.Read`). `notes` are sentences on what the file leaves open.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    geometry: StoredGeometry
    read: Read
    notes: tuple[str, ...] = ()


def open_header(path: Path) -> Header:
    """Read the header of a volume, and see to it that it describes one; what it leaves open of its size may stay so.

    Raises:
        InputError: the file is missing, damaged as far as its header shows, empty, of another file type or rank.
    """
    try:
        header = _opened(path)
    except OSError as error:
        raise InputError(refusal(error) or f"'{path}' cannot be read: {error}; copy it again.") from None
    if len(header.shape) not in (3, 4):
        raise InputError(f"'{path}' must have three axes, or four with channels: received the shape {header.shape}.")
    if min(header.shape) < 1:
        raise InputError(f"'{path}' is empty: received the shape {header.shape}; export it anew.")
    if header.dtype.kind not in REAL:
        raise InputError(f"'{path}' must hold real numbers: received the type {header.dtype}; export grey values.")
    return header


def _opened(path: Path) -> Header:
    if not path.exists():
        raise InputError(f"'{path}' does not exist: correct the path.")
    if not is_stored(path):
        raise InputError(f"'{path}' is neither a file nor a folder, but a pipe or a device: save the scan to a file.")
    extension = split_name(path)[1]
    if not is_unicode(str(path)):  # which ends the process within ITK, and is written into no table
        raise InputError(f"{str(path)!r} is a name that is not UTF-8: rename it, for example with convmv.")
    return _opener(extension)(path)


def _opener(extension: str) -> Callable[[Path], Header]:
    """Import what reads the headers of a file type, and nothing of the others'."""
    if extension == DICOM:
        from kseg.volumes.formats.dicom import open_dicom

        return open_dicom
    if extension in NIFTI_EXTENSIONS:
        from kseg.volumes.formats.nifti import open_nifti

        return open_nifti
    from kseg.volumes.formats.itk import open_itk

    return open_itk


def open_stored(path: Path, assume_spacing_mm: Spacing = ()) -> StoredFile:
    """Read the header of a volume.

    Args:
        path: a file, or the folder of a DICOM series.
        assume_spacing_mm: the voxels' size along the file's own axes i, j, k, for a file that does not state it.

    Raises:
        InputError: as `open_header` does; or the affine is of no use; or the file does not state the size of its
            voxels, and none is assumed, or another along an axis for which it states one.
    """
    header = open_header(path)
    affine, notes = _sized(header, assume_spacing_mm, path), []
    if header.unstated:
        notes.append(f"data.assume_spacing_mm gives what the file does not state: {header.unstated}")
    if not header.placed:
        missing = "no position" if split_name(path)[1] == DICOM else "no sform, no qform"
        notes.append(f"the file does not state where it lies, nor which side is left ({missing})")
    return _stored(header, path, affine, notes)


def open_voxels(path: Path) -> StoredFile:
    """Read the header of a volume of which the values alone are wanted: it need not state the size of its voxels.

    Raises:
        InputError: as `open_header` does; or the affine is of no use.
    """
    header = open_header(path)
    return _stored(header, path, header.affine)


def _stored(header: Header, path: Path, affine: np.ndarray, notes: Sequence[str] = ()) -> StoredFile:
    i, j, k = header.shape[:3]
    geometry = StoredGeometry((i, j, k), check_affine(affine, f"'{path}'"), split_name(path)[1], header.placed)
    return StoredFile(header.shape, header.dtype, geometry, header.read, tuple(notes))


def _sized(header: Header, assume_spacing_mm: Spacing, path: Path) -> np.ndarray:
    """The affine, with the assumed spacing along the axes for which the header states none."""
    if not header.unstated:
        return header.affine
    if not assume_spacing_mm:
        raise InputError(
            f"'{path}' does not state {header.unstated}: set it in the file, or, if you know it, give "
            "data.assume_spacing_mm=[i, j, k], in mm along the file's own axes."
        )
    scale = np.ones(4)
    for axis, (stated, assumed) in enumerate(zip(spacing_mm(header.affine), assume_spacing_mm, strict=True)):
        is_stated = axis not in header.unstated_axes
        if is_stated and abs(assumed / stated - 1) > ALIKE:
            raise InputError(
                f"'{path}' states {stated:.6g} mm between its voxels along {'ijk'[axis]}, data.assume_spacing_mm "
                f"{assumed:g}: give what it states."
            )
        scale[axis] = 1 if is_stated else assumed
    sized = header.affine @ np.diag(scale)
    if not header.placed:  # such a grid is centred on the origin
        centre = (np.array(header.shape[:3]) - 1) / 2
        sized[:3, 3] += (header.affine[:3, :3] - sized[:3, :3]) @ centre
    return sized
