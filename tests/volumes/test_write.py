"""Predictions lie on their scans; SimpleITK and nibabel are the references for where a voxel lies."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from label_arrays import read_labels
from scipy.spatial.transform import Rotation
from volume_files import (
    DIRECTIONS,
    EXTENSIONS,
    FORMATS,
    REAL,
    by_itk,
    itk_corners_mm,
    make_image,
    nib_corners_mm,
    nifti,
    real_scans,
    save,
)

from kseg.volumes.geometry import corners_mm
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import read_image, read_volume
from kseg.volumes.write import mask_files, write_label_map


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
