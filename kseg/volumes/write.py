"""Writing label maps that overlay their image in every viewer: its own grid, voxel order and file type."""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from kseg.console.disk_errors import refusal
from kseg.storage.files import whole_files
from kseg.volumes.formats.extensions import DICOM, NIFTI_EXTENSIONS, split_name
from kseg.volumes.geometry import SAME_PLACE, corners_apart_mm, from_ras, ras_to_lps, spacing_mm
from kseg.volumes.mask_hash import FIELD, is_as_written, mask_hash_of
from kseg.volumes.stored_geometry import StoredGeometry

if TYPE_CHECKING:
    import SimpleITK as sitk

SCANNER = 1  # NIfTI's code for a position in the scanner's space
VOXELS = {".mhd": ".zraw", ".nhdr": ".raw.gz"}  # what ITK puts in place of a detached header's extension
MISREAD = re.compile(r"^[\s~]|[%\x00-\x1f]")  # in the name of a data file: a pattern, another folder, the end of a line


def mask_files(scan: Path, extension: str) -> tuple[str, ...]:
    """Names of the files that the mask of a scan consists of, the mask itself first.

    It has the scan's stem and file type, which is `extension` (`split_name`), or ".nii.gz" for DICOM.
    """
    return mask_files_named(split_name(scan)[0], extension)


def mask_files_named(stem: str, extension: str) -> tuple[str, ...]:
    """The same for a mask of any name, `stem`, of a scan of the file type `extension`."""
    extension = ".nii.gz" if extension == DICOM else extension
    voxels = (_plain(stem) + VOXELS[extension],) if extension in VOXELS else ()
    return stem + extension, *voxels


def write_label_map(path: Path, values: np.ndarray, stored: StoredGeometry) -> None:
    """Write label values, integers (x, y, z) in RAS+ order, on the grid of the file that `stored` describes.

    The extension of `path` decides the file type; all but .nii are compressed. `path` appears only once it is
    complete (.mhd and .nhdr after their voxels), and replaces what is there; its header bears the mark of its voxels
    (`kseg.volumes.mask_hash`). Raises `InputError` for an unsupported extension, `OSError` where the disk refuses.
    """
    stem, extension = split_name(path)
    array = from_ras(values, stored)
    if array.shape != stored.shape:
        raise ValueError(f"`values` must fill the stored grid {stored.shape}. Received {array.shape} in its order.")
    with whole_files(path.parent, last=path.name) as folder:
        header = folder / path.name
        if extension in NIFTI_EXTENSIONS:
            nib.save(_nifti(array, stored), header)
        else:
            written = header.with_name(f"{_plain(stem)}{extension}")  # ITK names the voxels after it
            _write_with_itk(written, array, stored)
            written.replace(header)


def _plain(stem: str) -> str:
    """The stem, or where ITK would misread it as the name of a data file, one that it reads as it stands."""
    plain = MISREAD.sub(lambda match: f"_x{ord(match[0]):02x}", stem)
    return f"_{plain}" if plain.startswith("LIST") else plain


def _write_with_itk(path: Path, array: np.ndarray, stored: StoredGeometry) -> None:
    """Write a file and read it anew: ITK takes no notice of what a full disk refuses when it closes a file.

    Raises:
        OSError: the disk has not taken all of it.
    """
    import SimpleITK as sitk

    try:
        sitk.WriteImage(_itk_image(array, stored), str(path), useCompression=True)
        whole = is_as_written(path)
    except RuntimeError as error:
        if refusal(error) is None and _free_bytes(path) > array.nbytes:
            raise
        whole = False
    if not whole:
        code = errno.EIO if _free_bytes(path) > array.nbytes else errno.ENOSPC
        raise OSError(code, os.strerror(code))


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def _nifti(array: np.ndarray, stored: StoredGeometry) -> nib.Nifti1Image:
    """NIfTI image with sform and qform, or with neither where the input had neither.

    The qform can hold no shear, and float32 quaternions turn imprecise near half a turn: it is left out where
    it would lie elsewhere than the sform.
    """
    image = nib.Nifti1Image(array, stored.affine, dtype=array.dtype)
    image.header["descrip"] = f"{FIELD} = {mask_hash_of(array)}"
    image.header.set_xyzt_units("mm")
    image.set_sform(stored.affine, SCANNER if stored.placed else 0)
    image.set_qform(stored.affine, SCANNER if stored.placed else 0)
    apart_mm = corners_apart_mm(stored.shape, image.get_qform(), stored.affine)
    if apart_mm.max() > SAME_PLACE * min(spacing_mm(stored.affine)):
        image.set_qform(None, 0)
    return image


def _itk_image(array: np.ndarray, stored: StoredGeometry) -> "sitk.Image":
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    origin, spacing, direction = ras_to_lps(stored.affine)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    image.SetMetaData(FIELD, mask_hash_of(array))
    return image
