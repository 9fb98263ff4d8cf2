"""What reading makes of voxels, channels and labels, and which volumes it refuses."""

import re
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from label_arrays import read_labels
from volume_files import ITK_EXTENSIONS, by_itk, itk_corners_mm, make_image, nifti, save

from kseg.console.errors import InputError
from kseg.volumes.geometry import corners_mm
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import read_image, read_volume
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import GATHERED_PLANES


@pytest.mark.parametrize("unit", ["meter", "mm", "micron", "unknown"])
def test_nifti_units_become_mm_as_in_simpleitk(unit, tmp_path):
    path = nifti(tmp_path / "unit.nii", np.diag([1.0, 2, 3, 1]), 1, 1)
    image = nib.load(path)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "unit_set.nii")
    volume = read_volume(tmp_path / "unit_set.nii")
    expected = itk_corners_mm(by_itk(tmp_path / "unit_set.nii"))
    np.testing.assert_allclose(corners_mm(volume.shape, volume.affine), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        *((kept, kept) for kept in ("u1", "i1", "i2", "u2", "i4", "f4")),
        *((">i2", "i2"), ("f8", "f4"), ("u4", "i4"), ("i8", "i4"), ("u8", "i4")),
    ],
)
def test_types_are_kept_or_become_the_nearest_that_later_rooms_know(stored, read, tmp_path):
    array = np.arange(60).reshape(3, 4, 5).astype(stored)
    volume = read_volume(nifti(tmp_path / "typed.nii", np.eye(4), 1, 1, array))
    assert volume.array.dtype == read
    np.testing.assert_array_equal(volume.array, array)


def test_integers_beyond_32_bits_become_float32(tmp_path):
    array = np.arange(60).reshape(3, 4, 5) * 2**33
    volume = read_volume(nifti(tmp_path / "wide.nii", np.eye(4), 1, 1, array))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)


def test_scaled_integers_become_float32(tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "scaled.nii")
    raw = nib.load(tmp_path / "scaled.nii").dataobj
    assert (raw.slope, raw.inter) == (0.5, -1024)
    volume = read_volume(tmp_path / "scaled.nii")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, raw.get_unscaled() * 0.5 - 1024)


def test_four_axes_and_vector_voxels_become_channels(tmp_path):
    array = np.random.default_rng(2).integers(0, 99, (3, 4, 5, 2)).astype(np.int16)
    for shape in ((3, 4, 5, 2), (3, 4, 5, 1, 2)):
        path = nifti(tmp_path / "four.nii", np.eye(4), 1, 1, array.reshape(shape))
        np.testing.assert_array_equal(read_image([path], "four").array, array)

    vector = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0, 3)), isVector=True)
    vector.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS+ order
    joined = sitk.JoinSeries([sitk.VectorIndexSelectionCast(vector, channel) for channel in range(2)])
    for extension, image in product(ITK_EXTENSIONS, (vector, joined)):
        path = save(tmp_path / f"{image.GetDimension()}{extension}", image)
        np.testing.assert_array_equal(read_image([path], "four").array, array)


def test_channel_files_are_stacked_in_order_and_must_share_a_grid(tmp_path):
    first = save(tmp_path / "a.nii.gz", make_image(dtype="u1"))
    second = save(tmp_path / "b.mha", make_image(dtype="i2") * 2)
    image = read_image([second, first], "p07")
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array[..., 0], 2 * image.array[..., 1])
    assert image.stored.extension == ".mha"

    other = save(tmp_path / "c.nii.gz", make_image(size=(7, 8, 10)))
    expected = f"image '{other}' of case 'p07' has the shape (7, 8, 10), its first channel '{first}' (7, 8, 9)"
    with pytest.raises(InputError, match=re.escape(expected)):
        read_image([first, other], "p07")


def image_and_labels(folder: Path, labels: sitk.Image, extension: str = ".nii.gz") -> tuple[Volume, Path]:
    image = read_image([save(folder / "image.mha", make_image("oblique"))], "p07")
    return image, save(folder / f"labels{extension}", labels)


LEG = LabelMap(("background", "soleus"), (0, 100))


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
def test_labels_lie_on_their_image_whatever_their_type_and_file_format(dtype, tmp_path):
    mask = make_image("oblique") > 60
    image, path = image_and_labels(
        tmp_path, sitk.Cast(mask, sitk.GetImageFromArray(np.zeros((1, 1), dtype)).GetPixelID()) * 100
    )
    np.testing.assert_array_equal(read_labels(path, LEG, image, "p07"), image.array[..., 0] > 60)


def test_labels_on_another_grid_are_told_with_both_grids(tmp_path):
    image, path = image_and_labels(tmp_path, make_image("oblique", size=(7, 9, 9)))
    with pytest.raises(InputError) as caught:
        read_labels(path, LEG, image, "p07")
    shapes = sorted([image.shape, read_volume(path).shape], key=lambda shape: shape != read_volume(path).shape)
    assert str(caught.value) == (
        f"label '{path}' of case 'p07' has the shape {shapes[0]}, its image {shapes[1]}: "
        "resample one onto the other's grid."
    )
    image, path = image_and_labels(tmp_path, make_image("identity"))
    with pytest.raises(InputError, match=r"of case 'p07' lies up to [\d.]+ mm from its image"):
        read_labels(path, LEG, image, "p07")


def test_labels_with_fractions_unknown_values_or_channels_are_refused(tmp_path):
    image, path = image_and_labels(tmp_path, sitk.Cast(make_image("oblique"), sitk.sitkFloat32) + 0.5)
    with pytest.raises(InputError, match=r"label '.*' of case 'p07' must hold whole numbers"):
        read_labels(path, LEG, image, "p07")
    image, path = image_and_labels(tmp_path, make_image("oblique"))
    with pytest.raises(InputError, match=r"the values 1, 2, 3, 4, 5 and 112 more, which no class has.*`data.labels`"):
        read_labels(path, LEG, image, "p07")
    image, path = image_and_labels(tmp_path, sitk.Compose([make_image("oblique")] * 2), ".nrrd")
    with pytest.raises(InputError, match="one value a voxel"):
        read_labels(path, LEG, image, "p07")


def spoilt(value: float) -> np.ndarray:
    array = np.ones((3, 4, 5))
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (spoilt(np.nan), "NaN or infinity"),
        (spoilt(np.inf), "NaN or infinity"),
        (spoilt(1e300), r"must fit into float32: received 1e\+300"),
        (spoilt(1), "is an empty volume: received 1 everywhere"),
        (spoilt(2) * 1j, "real numbers: received the type complex128"),
        (np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "real numbers"),
        (np.arange(12.0).reshape(3, 4), "must have three axes"),
        (np.zeros((3, 0, 5), np.uint8), "is empty|must have three axes"),
        (np.arange(32.0).reshape(2, 2, 2, 2, 2), "must have three axes"),
    ],
    ids=["nan", "inf", "beyond float32", "constant", "complex", "rgb", "2-D", "no voxels", "5-D"],
)
def test_volumes_that_cannot_be_used_are_refused(array, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        read_volume(nifti(tmp_path / "bad.nii", np.eye(4), 1, 1, array))
    assert str(tmp_path / "bad.nii") in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_is_not_empty_whose_last_plane_alone_differs_and_nan_is_found_there(dtype, tmp_path):
    array = np.full((3, 4, 2 * GATHERED_PLANES + 1), 7, dtype)
    array[2, 3, -1] = 8
    image = read_volume(nifti(tmp_path / "image.nii", np.eye(4), 1, 1, array)).array
    np.testing.assert_array_equal(image, array)
    array = array.astype(np.float32)
    array[..., 0], array[2, 3, -1] = 5, np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        read_volume(nifti(tmp_path / "bad.nii", np.eye(4), 1, 1, array))


def test_a_flat_image_a_missing_file_and_a_foreign_type_are_refused(tmp_path):
    with pytest.raises(InputError, match="three axes"):
        read_volume(save(tmp_path / "flat.mha", make_image()[:, :, 3]))
    with pytest.raises(InputError, match=r"absent\.nii' does not exist"):
        read_volume(tmp_path / "absent.nii")
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"unsupported file type: convert it to one of \.nii\.gz, \.nii, \.mha"):
        read_volume(tmp_path / "photo.png")


def test_text_metaimages_are_read(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nBinaryData = False\nDimSize = 2 2 2\nElementType = MET_FLOAT\n"
    header += "ElementSpacing = 1 1 1\n"
    (tmp_path / "text.mha").write_text(header + "ElementDataFile = LOCAL\n0 1 2 3 4 5 6 7\n")
    volume = read_volume(tmp_path / "text.mha")
    np.testing.assert_array_equal(volume.array[::-1, ::-1].transpose(2, 1, 0).ravel(), np.arange(8))
