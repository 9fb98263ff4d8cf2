"""Volumes written slice by slice read back the same in nibabel and in SimpleITK."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.slice_writer import SliceWriter

SHAPE = (7, 5, 4)
LPS = np.diag([-1.0, -1.0, 1.0])


def oblique_affine() -> np.ndarray:
    """Rotated by 0.3 about z and 0.2 about x, spacing 0.277, 0.5 and 2 mm, origin off 0."""
    (c, s), (d, t) = ((np.cos(angle), np.sin(angle)) for angle in (0.3, 0.2))
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.277, 0.5, 2.0)
    affine[:3, 3] = (-31.5, 12.25, 87.0)
    return affine


def voxels(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def stream(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    with SliceWriter(path, array.shape, np.eye(4) if affine is None else affine, array.dtype) as file:
        for z in range(array.shape[2]):
            file.write(array[:, :, z])
    return path


@pytest.mark.parametrize("extension", ["nii.gz", "nii", "mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_simpleitk_reads_the_voxels_and_their_places(tmp_path: Path, extension: str, dtype: type) -> None:
    array, affine = voxels(dtype), oblique_affine()
    image = sitk.ReadImage(str(stream(tmp_path / f"v.{extension}", array, affine)))
    read = sitk.GetArrayFromImage(image).T
    np.testing.assert_array_equal(read, array)
    assert read.dtype == dtype
    for index in ((0, 0, 0), (6, 0, 0), (0, 4, 0), (6, 4, 3)):
        ras = LPS @ image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(ras, (affine @ [*index, 1])[:3], atol=1e-4)


@pytest.mark.parametrize("extension", ["nii.gz", "nii"])
def test_nibabel_reads_the_voxels_and_both_affines(tmp_path: Path, extension: str) -> None:
    array, affine = voxels(), oblique_affine()
    image = nib.Nifti1Image.from_filename(stream(tmp_path / f"v.{extension}", array, affine))
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.get_sform(), affine, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_streamed_nifti_is_byte_for_byte_what_nibabel_saves(tmp_path: Path) -> None:
    array, affine = voxels(), oblique_affine()
    whole = nib.Nifti1Image(array, affine)
    whole.set_sform(affine, "scanner")
    whole.set_qform(affine, "scanner")
    whole.header.set_xyzt_units("mm")
    whole.header.set_slope_inter(1, 0)
    nib.save(whole, tmp_path / "whole.nii")
    saved = (tmp_path / "whole.nii").read_bytes()
    assert stream(tmp_path / "streamed.nii", array, affine).read_bytes() == saved


def test_the_same_voxels_give_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    first, second = (stream(tmp_path / name, voxels()) for name in ("a.nii.gz", "b.nii.gz"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("count", [0, SHAPE[2] - 1])
def test_too_few_slices_leave_the_earlier_file_alone(tmp_path: Path, count: int) -> None:
    path = stream(tmp_path / "v.nii.gz", voxels())
    earlier = path.read_bytes()
    with (
        pytest.raises(ValueError, match=f"needs 4 slices. Received {count}"),
        SliceWriter(path, SHAPE, np.eye(4)) as file,
    ):
        for z in range(count):
            file.write(voxels()[:, :, z])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [earlier]


@pytest.mark.parametrize(
    ("plane", "error"),
    [
        (np.zeros((5, 7), np.uint8), ValueError),
        (np.zeros((7, 5, 1), np.uint8), ValueError),
        (np.zeros((7, 5), np.int16), TypeError),
    ],
)
def test_a_slice_of_another_shape_or_type_leaves_no_file(
    tmp_path: Path, plane: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error), SliceWriter(tmp_path / "v.mha", SHAPE, np.eye(4)) as file:
        file.write(plane)
    assert not list(tmp_path.iterdir())


def test_one_slice_too_many_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="after 4 others"),
        SliceWriter(tmp_path / "v.nii", SHAPE, np.eye(4)) as file,
    ):
        for z in (0, 1, 2, 3, 3):
            file.write(voxels()[:, :, z])


def test_the_file_has_no_name_before_its_last_slice(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    with SliceWriter(path, SHAPE, np.eye(4)) as file:
        for z in range(SHAPE[2]):
            assert not path.exists()
            file.write(voxels()[:, :, z])
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("v.nrrd", SHAPE, np.uint8, "choose .nii.gz, .nii or .mha"),
        ("v.nii", (40000, 2, 2), np.uint8, "NIfTI cannot hold"),
        ("v.mha", SHAPE, np.complex64, "cannot write complex64 voxels as MetaImage"),
    ],
)
def test_what_a_format_cannot_hold_is_the_users_mistake(
    tmp_path: Path, name: str, shape: tuple[int, int, int], dtype: type, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SliceWriter(tmp_path / name, shape, np.eye(4), dtype)
