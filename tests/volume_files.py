"""Volumes as SimpleITK and nibabel write and see them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
FORMATS = SHARED / "formats"
real_scans = pytest.mark.skipif(not SHARED.is_dir(), reason="real scans absent: ../shared/data")
REAL = [
    "fetal_ultrasound.nrrd",
    "spine_phantom_freehand.mha",
    "brain1_image.nrrd",
    "brain1_label.nrrd",
    "ct_dicom",
    "ct_dicom_labels.nii.gz",
]
ITK_EXTENSIONS = (".mha", ".mhd", ".nrrd", ".nhdr")
EXTENSIONS = (".nii.gz", ".nii", *ITK_EXTENSIONS)
DIRECTIONS = {
    "identity": np.eye(3),
    "flipped": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.eye(3)[[2, 0, 1]] * (-1, 1, -1),
    "oblique": Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix(),
    "oblique, left-handed": Rotation.from_rotvec([0.1, 0.7, -0.2]).as_matrix() * (1, 1, -1),
}


def by_itk(path: Path) -> sitk.Image:
    if path.is_dir():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))[0]
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series))
    return sitk.ReadImage(str(path))


def itk_corners_mm(image: sitk.Image) -> np.ndarray:
    corners = product(*((0, length - 1) for length in image.GetSize()))
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners]) * (-1, -1, 1)


def nib_corners_mm(image: nib.Nifti1Image) -> np.ndarray:
    corners = np.array(list(product(*((0, length - 1) for length in image.shape))))
    return nib.affines.apply_affine(image.affine, corners)


def save_array(path: str, array: np.ndarray, spacing_mm: tuple[float, ...] = (1.0, 2.0, 3.0)) -> str:
    """Write (z, y, x), as ITK has arrays."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, path)
    return path


def make_image(direction: str = "identity", dtype: str = "u1", size: Sequence[int] = (7, 8, 9)) -> sitk.Image:
    """Random voxels on a grid of 0.5 x 0.8 x 1.7 mm, far from the origin."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 120, size[::-1]).astype(dtype))
    image.SetSpacing((0.5, 0.8, 1.7))
    image.SetOrigin((-81.3, 40.7, 212.9))
    image.SetDirection(DIRECTIONS[direction].ravel().tolist())
    return image


def save(path: Path, image: sitk.Image, compress: bool = False) -> Path:
    sitk.WriteImage(image, str(path), compress)
    return path


def nifti(path: Path, affine: np.ndarray, sform: int, qform: int, array: np.ndarray | None = None) -> Path:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) if array is None else array
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    nib.save(image, path)
    return path
