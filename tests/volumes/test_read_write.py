"""Reading and writing volumes; SimpleITK and nibabel are the references for where a voxel lies."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from damage import flip_bits
from scipy.spatial.transform import Rotation

from kseg.console.errors import InputError
from kseg.volumes.geometry import corners_mm
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import open_labels, read_image, read_volume
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import GATHERED_PLANES, gather
from kseg.volumes.write import mask_files, write_label_map

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
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


def assert_overlays(prediction: Path, image: sitk.Image, bright: sitk.Image) -> None:
    """The prediction marks, in SimpleITK and in nibabel, the voxels that are bright in the image."""
    written = by_itk(prediction)
    assert written.GetSize() == image.GetSize()
    np.testing.assert_allclose(itk_corners_mm(written), itk_corners_mm(image), atol=1e-3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), 200 * sitk.GetArrayFromImage(bright))
    if ".nii" in prediction.suffixes:
        nifti = nib.load(prediction)
        np.testing.assert_allclose(nib_corners_mm(nifti), itk_corners_mm(image), atol=1e-3)
        np.testing.assert_array_equal(np.asarray(nifti.dataobj).T, 200 * sitk.GetArrayFromImage(bright))
        assert nifti.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(nifti.get_sform(), nifti.affine)
        np.testing.assert_allclose(nifti.get_qform(), nifti.affine, atol=1e-4)
        assert nifti.header["sform_code"] == nifti.header["qform_code"] == 1


def check_overlay(path: Path, folder: Path) -> Path:
    volume, image = read_volume(path), by_itk(path)
    threshold = round(float(volume.array.mean()))  # SimpleITK casts it to the image's type
    prediction = folder / "out" / mask_files(path, volume.stored.extension)[0]
    write_label_map(prediction, (volume.array > threshold).astype(np.uint8) * np.uint8(200), volume.stored)
    assert_overlays(prediction, image, image > threshold)
    return prediction


@real_scans
@pytest.mark.parametrize("name", REAL)
def test_real_files_have_their_voxels_where_simpleitk_has_them(name):
    volume, image = read_volume(FORMATS / name), by_itk(FORMATS / name)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    voxels = np.random.default_rng(0).integers(0, image.GetSize(), (500, 3)).tolist()
    places = np.array([image.TransformIndexToPhysicalPoint(voxel) for voxel in voxels]) * (-1, -1, 1)
    found = nib.affines.apply_affine(np.linalg.inv(volume.affine), places)
    np.testing.assert_allclose(found, found.round(), atol=1e-3)
    x, y, z = found.round().astype(int).T
    np.testing.assert_array_equal(volume.array[x, y, z], [image[voxel] for voxel in voxels])


def read_labels(path: Path, label_map: LabelMap, image: Volume, case: str) -> np.ndarray:
    """Class indices of a case, whole, (x, y, z)."""
    return gather(open_labels(path, label_map, image, case), f"label '{path}'").array[..., 0]


@real_scans
@pytest.mark.parametrize("name", REAL)
def test_real_files_read_the_same_through_simpleitk_and_through_nibabel(name, tmp_path):
    direct = read_volume(FORMATS / name)
    through_nifti = read_volume(save(tmp_path / "same.nii", by_itk(FORMATS / name)))
    np.testing.assert_array_equal(direct.array, through_nifti.array)
    np.testing.assert_allclose(
        corners_mm(direct.shape, direct.affine), corners_mm(direct.shape, through_nifti.affine), atol=1e-3
    )


@real_scans
@pytest.mark.parametrize("name", REAL)
def test_a_prediction_on_a_real_file_overlays_it_in_both_libraries(name, tmp_path):
    prediction = check_overlay(FORMATS / name, tmp_path)
    assert prediction.name == (name + ".nii.gz" if name == "ct_dicom" else name)


@real_scans
def test_ct_labels_stored_in_another_orientation_land_on_bone_and_soft_tissue():
    image = read_image([FORMATS / "ct_dicom"], "ct")
    stored = nib.load(FORMATS / "ct_dicom_labels.nii.gz")
    assert nib.aff2axcodes(stored.affine) == ("L", "A", "S")
    present = np.unique(np.asarray(stored.dataobj)).tolist()
    label_map = LabelMap.from_json({f"structure {value}": value for value in present})
    labels = label_map.to_values(read_labels(FORMATS / "ct_dicom_labels.nii.gz", label_map, image, "ct"))

    def median_hu(structure: int) -> float:
        return float(np.median(image.array[labels == structure]))

    ribs, vertebrae, spleen_liver_stomach = (97, 102), (32, 33), (1, 5, 6)
    assert all(median_hu(bone) > 150 for bone in (*ribs, *vertebrae))
    assert all(40 < median_hu(organ) < 110 for organ in spleen_liver_stomach)
    assert median_hu(0) < -900  # mostly air around the body


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_prediction_overlays_oblique_and_flipped_images(extension, direction, tmp_path):
    path = save(tmp_path / f"scan{extension}", make_image(direction, "i2"))
    volume = read_volume(path)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert check_overlay(path, tmp_path).name == path.name


def nifti(path: Path, affine: np.ndarray, sform: int, qform: int, array: np.ndarray | None = None) -> Path:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) if array is None else array
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    nib.save(image, path)
    return path


def written_back(path: Path) -> nib.Nifti1Image:
    volume = read_volume(path)
    write_label_map(path.with_name("out.nii"), np.zeros(volume.shape, np.uint8), volume.stored)
    return nib.load(path.with_name("out.nii"))


def test_a_shear_is_written_into_the_sform_alone(tmp_path):
    affine = np.array([[1, 0.3, 0, 5], [0, 1, 0.2, 6], [0, 0, 2, 7], [0, 0, 0, 1]], float)
    path = nifti(tmp_path / "sheared.nii", affine, 1, 0)
    np.testing.assert_allclose(corners_mm((3, 4, 5), read_volume(path).affine), nib_corners_mm(nib.load(path)))
    out = written_back(path)
    np.testing.assert_allclose(out.affine, affine, atol=1e-6)
    assert (out.header["sform_code"], out.header["qform_code"]) == (1, 0)


def test_a_qform_that_float32_would_bend_by_millimetres_is_left_out(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec((np.pi - 2e-4) * np.array([0.6, 0.8, 0])).as_matrix()
    path = nifti(tmp_path / "half_turn.nii", affine, 1, 0, np.arange(4000, dtype=np.int16).reshape(2, 2, 1000))
    out = written_back(path)
    assert out.header["qform_code"] == 0
    np.testing.assert_allclose(nib_corners_mm(out), nib_corners_mm(nib.load(path)), atol=1e-3)
    np.testing.assert_allclose(itk_corners_mm(by_itk(tmp_path / "out.nii")), nib_corners_mm(out), atol=1e-3)


def test_the_qform_places_a_file_without_sform(tmp_path):
    affine = np.array([[0, 2, 0, -9], [-1, 0, 0, 8], [0, 0, 3, 7], [0, 0, 0, 1]], float)
    path = nifti(tmp_path / "qform.nii", affine, 0, 1)
    np.testing.assert_allclose(nib_corners_mm(written_back(path)), itk_corners_mm(by_itk(path)), atol=1e-3)


def test_a_file_that_gives_no_position_gets_a_prediction_that_gives_none(tmp_path):
    path = nifti(tmp_path / "unplaced.nii", np.diag([1.0, 2, 3, 1]), 0, 0)
    out = written_back(path)
    np.testing.assert_allclose(nib_corners_mm(out), nib_corners_mm(nib.load(path)))
    # SimpleITK puts both elsewhere than nibabel, but on top of each other.
    np.testing.assert_allclose(itk_corners_mm(by_itk(tmp_path / "out.nii")), itk_corners_mm(by_itk(path)))


@pytest.mark.parametrize("unit", ["meter", "mm", "micron", "unknown"])
def test_nifti_units_become_mm_as_in_simpleitk(unit, tmp_path):
    path = nifti(tmp_path / "unit.nii", np.diag([1.0, 2, 3, 1]), 1, 1)
    image = nib.load(path)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "unit_set.nii")
    volume = read_volume(tmp_path / "unit_set.nii")
    expected = itk_corners_mm(by_itk(tmp_path / "unit_set.nii"))
    np.testing.assert_allclose(corners_mm(volume.shape, volume.affine), expected, rtol=1e-6)


def test_mhd_and_nhdr_predictions_bring_their_voxels_first_and_leave_nothing_else(tmp_path, monkeypatch):
    appeared, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda file, to: appeared.append(to.name) or replace(file, to))
    for extension, names in ((".mhd", ["p.zraw", "p.mhd"]), (".nhdr", ["p.raw.gz", "p.nhdr"])):
        path = save(tmp_path / f"scan{extension}", make_image())
        stored = read_volume(path).stored
        out = tmp_path / extension
        write_label_map(out / f"p{extension}", np.zeros(stored.shape, np.uint8), stored)
        assert appeared[-2:] == names
        assert {file.name for file in out.iterdir()} == set(names)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_debris(tmp_path, monkeypatch):
    stored = read_volume(save(tmp_path / "scan.nii", make_image())).stored
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p.nii.gz").write_bytes(b"old")

    def full_disk(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_label_map(tmp_path / "out" / "p.nii.gz", np.zeros(stored.shape, np.uint8), stored)
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "out").iterdir()] == [("p.nii.gz", b"old")]


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
    with pytest.raises(InputError, match=r"holds the values 1, 2, 3, 4, 5, \.\.\., which no class has.*`data.labels`"):
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


def assert_damage_is_told(path: Path, damaged: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "No such file" not in message
    assert str(damaged) in message or str(path) in message


@pytest.mark.parametrize("cut", ["twelve bytes", "half", "all but the start", "everything"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_truncated_files_are_errors(extension, compress, cut, tmp_path):
    path = save(tmp_path / f"scan{extension}", make_image(), compress)
    voxels = next((file for file in tmp_path.iterdir() if file != path), path)
    content = voxels.read_bytes()
    kept = {
        "twelve bytes": len(content) - 12,
        "half": len(content) // 2,
        "all but the start": 50,
        "everything": 0,
    }
    voxels.write_bytes(content[: kept[cut]])
    assert_damage_is_told(path, voxels)


def test_a_short_metaimage_is_told_by_its_bytes_for_itk_says_no_such_file(tmp_path):
    for compress, message in ((False, "expected 504 bytes of voxels, got 492"), (True, "end early")):
        path = save(tmp_path / "short.mha", make_image(), compress)
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(InputError, match=message):
            read_volume(path)


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("place", ["middle", "checksum"])
def test_flipped_bits_in_compressed_voxels_are_errors(extension, place, tmp_path):
    path = save(tmp_path / f"scan{extension}", make_image(), compress=True)
    voxels = next((file for file in tmp_path.iterdir() if file != path), path)
    checksum = -6 if extension in (".nii.gz", ".nrrd", ".nhdr") else -2
    flip_bits(voxels, -voxels.stat().st_size // 4 if place == "middle" else checksum, 0x55)
    assert_damage_is_told(path, voxels)


def test_junk_and_lost_voxels_are_errors(tmp_path):
    for extension in EXTENSIONS:
        junk = tmp_path / f"junk{extension}"
        junk.write_bytes(b"hello" * 200)
        assert_damage_is_told(junk, junk)
    for extension in (".mhd", ".nhdr"):
        path = save(tmp_path / f"lost{extension}", make_image())
        (tmp_path / "lost.raw").unlink()
        assert_damage_is_told(path, tmp_path / "lost.raw")


def test_text_metaimages_are_read(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nBinaryData = False\nDimSize = 2 2 2\nElementType = MET_FLOAT\n"
    header += "ElementSpacing = 1 1 1\n"
    (tmp_path / "text.mha").write_text(header + "ElementDataFile = LOCAL\n0 1 2 3 4 5 6 7\n")
    volume = read_volume(tmp_path / "text.mha")
    np.testing.assert_array_equal(volume.array[::-1, ::-1].transpose(2, 1, 0).ravel(), np.arange(8))
