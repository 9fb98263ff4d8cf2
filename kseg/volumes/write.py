"""Writing label maps that overlay their image in every viewer: its own grid, voxel order and file type."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from kseg.volumes.formats.names import DICOM, NIFTI_EXTENSIONS, split_name
from kseg.volumes.geometry import corners_mm, from_ras, ras_to_lps, spacing_mm
from kseg.volumes.volume import StoredGeometry

SCANNER = 1  # NIfTI's code for a position in the scanner's space
VOXELS = {".mhd": ".zraw", ".nhdr": ".raw.gz"}  # what ITK puts in place of a detached header's extension
ATTACHED = {".mhd": ".mha", ".nhdr": ".nrrd"}
MISREAD = re.compile(
    r"^LIST|^\s|[%\x00-\x1f]"
)  # in a header ITK takes such a name for a pattern, a list or another name


def output_name(input_path: Path, stored: StoredGeometry) -> str:
    """File name for a prediction on `input_path`: its stem and file type, ".nii.gz" for a DICOM series."""
    return output_files(input_path, stored)[0]


def output_files(input_path: Path, stored: StoredGeometry) -> tuple[str, ...]:
    """Names of all files that the prediction on `input_path` consists of, the first of them `output_name`."""
    stem = split_name(input_path)[0]
    return _files_of(stem, ".nii.gz" if stored.extension == DICOM else stored.extension)


def write_label_map(path: Path, values: np.ndarray, stored: StoredGeometry) -> None:
    """Write label values, integers (x, y, z) in RAS+ order, on the grid of the file that `stored` describes.

    The extension of `path` decides the file type; all but .nii are compressed. `path` appears only once it is
    complete (.mhd and .nhdr after their voxels), and replaces what is there. A .mhd or .nhdr whose name ITK would
    misread in a header has its voxels within, as .mha and .nrrd have. Raises `InputError` for an unsupported
    extension, `OSError` where the disk refuses.
    """
    stem, extension = split_name(path)
    array = from_ras(values, stored)
    if array.shape != stored.shape:
        raise ValueError(f"`values` must fill the stored grid {stored.shape}. Received {array.shape} in its order.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        header = Path(folder) / path.name
        if extension in NIFTI_EXTENSIONS:
            nib.save(_nifti(array, stored), header)
        else:
            detached = len(_files_of(stem, extension)) > 1
            written = header if detached else header.with_name(f"mask{ATTACHED.get(extension, extension)}")
            sitk.WriteImage(_itk_image(array, stored), str(written), useCompression=True)
            written.replace(header)
        for file in sorted(Path(folder).iterdir(), key=header.__eq__):
            file.replace(path.parent / file.name)


def _files_of(stem: str, extension: str) -> tuple[str, ...]:
    detached = extension in VOXELS and not MISREAD.search(stem)
    return (stem + extension, stem + VOXELS[extension]) if detached else (stem + extension,)


def _nifti(array: np.ndarray, stored: StoredGeometry) -> nib.Nifti1Image:
    """NIfTI image with sform and qform, or with neither where the input had neither.

    The qform can hold no shear, and float32 quaternions turn imprecise near half a turn: it is left out where
    it would lie a tenth of a voxel or more from the sform.
    """
    image = nib.Nifti1Image(array, stored.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(stored.affine, SCANNER if stored.placed else 0)
    image.set_qform(stored.affine, SCANNER if stored.placed else 0)
    off_mm = np.abs(corners_mm(stored.shape, image.get_qform()) - corners_mm(stored.shape, stored.affine)).max()
    if off_mm >= 0.1 * min(spacing_mm(stored.affine)):
        image.set_qform(None, 0)
    return image


def _itk_image(array: np.ndarray, stored: StoredGeometry) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    origin, spacing, direction = ras_to_lps(stored.affine)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image
