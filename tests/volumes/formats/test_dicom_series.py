"""DICOM series, a file a slice: voxels lie where positions say, with the values of their own file; or one line.

The references: what was written, and SimpleITK's reading of each file by itself.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import (
    AXIAL,
    assert_read,
    by_itk,
    dicom,
    line,
    lps_affine,
    place,
    save,
    save_series,
    set_pixels,
    voxels,
    with_tags,
)
from pydicom import dcmread, uid
from scipy.spatial.transform import Rotation

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import open_dicom
from kseg.volumes.formats.dicom_magic import is_dicom
from kseg.volumes.formats.extensions import split_name
from kseg.volumes.read import read_volume
from kseg.volumes.write import mask_files, write_label_map

OBLIQUE = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
NO_IMAGES = [
    uid.RTStructureSetStorage,
    uid.RTPlanStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.RawDataStorage,
    uid.EncapsulatedPDFStorage,
    uid.UID("1.3.12.2.1107.5.9.1"),  # Siemens' own
]


RESCALES = {
    "of PET, an empty first slice": ({"RescaleSlope": lambda k: 0.4567 if k else 1}, np.float32),
    "all fractional": ({"RescaleSlope": lambda k: 0.1 + 0.01 * k, "RescaleIntercept": 0.5}, np.float32),
    "integers beyond the first slice's type": ({"RescaleSlope": lambda k: 100 if k else 1}, np.int32),
    "an intercept from the second slice on": ({"RescaleIntercept": lambda k: -1024 if k else 0}, np.int32),
    "absent in some": ({"RescaleIntercept": lambda k: -1024 if k % 2 else None}, np.int32),
    "signed and unsigned": ({"PixelRepresentation": lambda k: k % 2, "RescaleIntercept": -5}, np.int32),
    "twelve bits are enough for int16": (
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": -1024},
        np.int16,
    ),
    "an integral slope": ({"RescaleSlope": 3, "RescaleIntercept": 7}, np.int32),
}


@pytest.mark.parametrize("name", RESCALES)
def test_each_slice_has_its_own_rescale_and_bits(name, tmp_path):
    tags, dtype = RESCALES[name]
    low, high = (0, 4096) if "BitsStored" in tags else (-3000, 30000)
    save_series(tmp_path / "s", voxels(low=low, high=high), **tags)
    expected, affine = by_itk(tmp_path / "s")
    assert open_dicom(tmp_path / "s").dtype == dtype
    assert_read(tmp_path / "s", expected, affine)


def test_slices_of_8_and_of_16_bits_are_one_series(tmp_path):
    save_series(tmp_path / "s", voxels(low=0), keep=lambda k: k != 2)
    made = dcmread(tmp_path / "s" / "1_001.dcm")
    made.ImagePositionPatient, made.SOPInstanceUID = place(2), "1.2.3"
    set_pixels(made, np.full((made.Rows, made.Columns), 200, np.uint8))
    made.save_as(tmp_path / "s" / "1_002.dcm")
    expected, affine = by_itk(tmp_path / "s")
    assert expected[..., 2].max() == 200
    assert_read(tmp_path / "s", expected, affine)


@pytest.mark.parametrize("axes", [AXIAL, AXIAL[:, [2, 0, 1]], AXIAL * (1, -1, -1), OBLIQUE, OBLIQUE * (-1, 1, -1)])
def test_positions_give_the_order_whatever_files_are_called(axes, tmp_path):
    array = voxels()
    save_series(tmp_path / "s", array, axes)
    expected, affine = by_itk(tmp_path / "s")
    np.testing.assert_allclose(affine, lps_affine(axes=axes), atol=1e-5)
    for number, file in zip(np.random.default_rng(0).permutation(6), sorted((tmp_path / "s").iterdir()), strict=True):
        with_tags(made := dcmread(file), InstanceNumber=int(number) + 300)
        made.save_as(tmp_path / "s" / f"t{number}")
        file.unlink()
    assert_read(tmp_path / "s", expected, affine)


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE * (1, -1, -1)])
def test_a_prediction_overlays_its_series(axes, tmp_path):
    array = voxels()
    series = save_series(tmp_path / "leg", array, axes)
    volume = read_volume(series)
    mask = tmp_path / "out" / mask_files(series, volume.stored.extension)[0]
    write_label_map(mask, (volume.array > 500).astype(np.uint8) * np.uint8(200), volume.stored)
    assert mask.name == "leg.nii.gz"
    written = sitk.ReadImage(str(mask))
    place_of = lps_affine(axes=axes)
    for corner in ((0, 0, 0), (8, 6, 5)):
        expected = place_of[:3, :3] @ corner + place_of[:3, 3]
        np.testing.assert_allclose(written.TransformIndexToPhysicalPoint(corner), expected, atol=1e-3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written).T, 200 * (array > 500))


def test_numbers_may_be_absent_or_have_holes_where_positions_are_even(tmp_path):
    array = voxels()
    assert_read(save_series(tmp_path / "absent", array, InstanceNumber=None), array)
    assert_read(save_series(tmp_path / "holes", array, InstanceNumber=lambda k: 7 * k + 40), array)
    jitter = save_series(tmp_path / "jitter", array, ImagePositionPatient=lambda k: place(k + 0.02 * (k == 3)))
    np.testing.assert_allclose(read_volume(jitter).spacing_mm, (0.8, 0.7, 2))


def test_tags_may_be_empty_as_anonymisation_leaves_them(tmp_path):
    names = (
        "SliceThickness",
        "SpacingBetweenSlices",
        "RescaleSlope",
        "RescaleIntercept",
        "InstanceNumber",
        "ImageType",
    )
    empty = dict.fromkeys((*names, "SeriesNumber", "SeriesDescription", "EchoTime", "NumberOfFrames"), "")
    assert_read(save_series(tmp_path / "s", voxels(), **empty), voxels())
    nowhere = {"ImagePositionPatient": "", "ImageOrientationPatient": "", "PixelSpacing": ""}
    assert "cannot be put in order" in line(save_series(tmp_path / "nowhere", voxels(), **empty, **nowhere))


@pytest.mark.parametrize("kind", NO_IMAGES, ids=lambda kind: kind.keyword or str(kind))
def test_objects_that_are_no_image_are_passed_by(kind, tmp_path):
    array = voxels()
    save_series(tmp_path / "s", array)
    save(dicom(kind, uid="9", series="9"), tmp_path / "s" / "other.dcm")
    assert_read(tmp_path / "s", array)
    save(dicom(kind, uid="9"), tmp_path / "s" / "other.dcm")  # in the same series
    assert_read(tmp_path / "s", array)
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "s" / "other.dcm", tmp_path / "alone")
    assert f"1 file without an image ({kind.name})" in line(tmp_path / "alone")
    assert f"holds no image ({kind.name})" in line(tmp_path / "alone" / "other.dcm")


def test_segmentations_and_doses_beside_a_series_are_no_slices_of_it(tmp_path):
    array = voxels()
    save_series(tmp_path / "s", array)
    for kind in (uid.SegmentationStorage, uid.RTDoseStorage):
        set_pixels(made := dicom(kind, uid="9", series="9"), array.T)
        save(made, tmp_path / "s" / f"{kind.keyword}.dcm")
    assert_read(tmp_path / "s", array)


def test_files_that_are_no_dicom_do_no_harm(tmp_path):
    array = voxels()
    save_series(tmp_path / "s", array)
    clutter = {
        "DICOMDIR": bytes(128) + b"DICM",
        ".DS_Store": b"\0\0\0\1Bud1" + bytes(300),
        "Thumbs.db": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(300),
        "notes.txt": b"not DICOM, though pydicom would be forced to read it" * 5,
        "empty": b"",
        "leg.nii": bytes(352),
    }
    for name, content in clutter.items():
        (tmp_path / "s" / name).write_bytes(content)
        assert not is_dicom(tmp_path / "s" / name)
    (tmp_path / "s" / "deeper").mkdir()
    save_series(tmp_path / "s" / "deeper", array, series="2")
    assert_read(tmp_path / "s", array)


def test_a_slice_that_is_there_twice_counts_once(tmp_path):
    array = voxels()
    once = save_series(tmp_path / "s", array, ImageComments="first")
    for file in sorted(once.iterdir())[:4]:
        shutil.copy(file, once / f"copy of {file.name}")
    assert_read(once, array)
    again = dcmread(once / "1_005.dcm")
    again.SOPInstanceUID = "1.2.3"  # sent twice, under another name
    again.save_as(once / "again.dcm")
    assert_read(once, array)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"EchoTime": [4.6, 9.2]}, "differ in Echo Time (4.6, 9.2)"),
        ({"TemporalPositionIdentifier": [1, 2]}, "differ in Temporal Position Identifier (1, 2)"),
        ({"ImageType": [["ORIGINAL", "WATER"], ["ORIGINAL", "FAT"]]}, "differ in Image Type (ORIGINAL, WATER, "),
        ({}, "(numbers 1 and 101)"),
        ({"InstanceNumber": [None, None]}, "('0"),  # files, where nothing numbers them
    ],
)
def test_two_volumes_in_one_series_are_refused_and_told_apart(tags, reason, tmp_path):
    for n in range(2):
        own = {name: values[n] for name, values in tags.items()}
        own.setdefault("InstanceNumber", lambda k, n=n: 100 * n + k + 1)
        save_series(tmp_path / f"{n}", voxels() + n, **own)
        for file in (tmp_path / f"{n}").iterdir():
            (tmp_path / "s").mkdir(exist_ok=True)
            file.rename(tmp_path / "s" / f"{n}{file.name}")
    message = line(tmp_path / "s")
    assert "holds more than one volume: two slices lie at 5 mm" in message
    assert reason in message
    assert "give each volume its own folder" in message


def test_missing_slices_are_named(tmp_path):
    gap = save_series(tmp_path / "gap", voxels(), keep=lambda k: k != 3)
    assert "lacks 1 slice, for its 5 slices are not evenly spaced: between 9 and 13 mm (numbers 3, 5)" in line(gap)
    gaps = save_series(tmp_path / "gaps", voxels((4, 4, 12)), keep=lambda k: k not in (2, 7, 8))
    assert "lacks 3 slices" in line(gaps)
    assert "between 7 and 11 mm (numbers 2, 4), between 17 and 23 mm (numbers 7, 10); add what is missing" in line(gaps)
    pet = save_series(tmp_path / "pet", voxels(), keep=lambda k: k < 5, NumberOfSlices=6)
    assert "has 5 of the 6 slices that it says" in line(pet)


def test_slices_that_no_grid_holds_are_refused(tmp_path):
    def series(name: str, **tags) -> str:
        return line(save_series(tmp_path / name, voxels(), **tags))

    uneven = series("uneven", ImagePositionPatient=lambda k: place(1.3**k))
    assert "must be evenly spaced along their normal: received distances of 0.6 to 1.7" in uneven
    tilted = series("tilted", ImagePositionPatient=lambda k: np.add(place(k), (0, 0.5 * k, 0)).tolist())
    assert "received one that lies 2.5 mm to the side, as of a tilted gantry; resample a tilted series" in tilted
    turned = series("turned", ImageOrientationPatient=lambda k: [1, 0, 0, 0, 0, -1] if k == 2 else [1, 0, 0, 0, 1, 0])
    assert "slices of one orientation" in turned
    zoomed = series("zoomed", PixelSpacing=lambda k: [0.7, 0.9] if k == 2 else [0.7, 0.8])
    assert "slices of one pixel spacing: received [0.8, 0.7] and [0.9, 0.7]" in zoomed
    lost = series("lost", ImagePositionPatient=lambda k: None if k == 2 else place(k))
    assert "has 1 of 6 slices without a position" in lost
    askew = series("askew", ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    assert "two directions at right angles" in askew
    assert "no orientation" in series("no orientation", ImageOrientationPatient=None)
    assert "shows its slices side by side" in series("mosaic", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    assert "must hold grey values: received the colours 'PALETTE COLOR'" in series(
        "palette", PhotometricInterpretation="PALETTE COLOR"
    )
    assert "rescaled by 0" in series("flat", RescaleSlope=0)
    assert "Image Position" in series("words", ImagePositionPatient=[1, 2]).replace("ImagePosition", "Image Position")
    set_pixels(odd := dcmread(tmp_path / "uneven" / "1_000.dcm"), np.zeros((3, 5), np.int16))
    odd.save_as(tmp_path / "uneven" / "odd.dcm")
    assert "of one size: received 5 x 3 pixels ('odd.dcm') and 9 x 7 pixels ('1_000.dcm')" in line(tmp_path / "uneven")


def test_several_series_are_listed_with_their_files(tmp_path):
    save_series(tmp_path / "s", voxels(), SeriesDescription="thigh")
    save_series(tmp_path / "s", voxels(), series="2", SeriesDescription="scout", keep=lambda k: k == 0)
    message = line(tmp_path / "s")
    assert "must hold one DICOM series: received 2 ('thigh' (number 1, 6 files, the first '1_000.dcm'), " in message
    assert "'scout' (number 1, 1 file, the first '2_000.dcm')); give each its own folder" in message
    save_series(tmp_path / "bare", voxels(), SeriesNumber=None)
    save_series(tmp_path / "bare", voxels(), series="2", SeriesNumber=None)
    assert "received 2 (" in line(tmp_path / "bare")
    assert "number" not in line(tmp_path / "bare")
    (tmp_path / "empty").mkdir()
    assert "must hold one DICOM series: received none; name the folder that holds it" in line(tmp_path / "empty")


def unstated(folder: Path) -> str:
    header = open_dicom(folder)
    assert (0 in header.unstated_axes) == (1 in header.unstated_axes) == ("pixels" in header.unstated)
    assert (2 in header.unstated_axes) == ("distance" in header.unstated or "thickness" in header.unstated)
    return header.unstated


def test_what_no_file_states_is_named_and_never_taken_for_1_mm(tmp_path):
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    array = voxels()
    thin = save_series(tmp_path / "thin", array, InstanceNumber=lambda k: 9 - k, **nowhere)
    header = open_dicom(thin)
    assert (header.unstated, header.placed) == ("the distance between its slices", False)
    np.testing.assert_allclose(np.linalg.norm(header.affine[:3, :2], axis=0), (0.8, 0.7))
    np.testing.assert_array_equal(next(header.read([6])), array[..., ::-1])  # in the order of their numbers
    assert "does not state the distance between its slices" in line(thin)

    stated = open_dicom(save_series(tmp_path / "stated", array, SpacingBetweenSlices=2.5, **nowhere))
    assert (stated.unstated, stated.placed) == ("", False)
    np.testing.assert_allclose(np.linalg.norm(stated.affine[:3, :3], axis=0), (0.8, 0.7, 2.5))

    detector = {"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.1], "NominalScannedPixelSpacing": [0.2, 0.2]}
    assert unstated(save_series(tmp_path / "cr", array, **detector)) == "the size of its pixels"
    both = "the size of its pixels and the distance between its slices"
    assert unstated(save_series(tmp_path / "sc", array, **detector, **nowhere)) == both
    assert unstated(save_series(tmp_path / "zero", array, PixelSpacing=[0, 0])) == "the size of its pixels"

    gap = save_series(tmp_path / "gap", array, keep=lambda k: k != 3, SpacingBetweenSlices=2, **nowhere)
    assert "its instance numbers jump from 3 to 5; add what is missing" in line(gap)
    numberless = save_series(tmp_path / "numberless", array, InstanceNumber=None, **nowhere)
    assert "cannot be put in order" in line(numberless)


def test_a_lone_slice_is_as_thick_as_it_says(tmp_path):
    array = voxels((9, 7, 1))
    assert_read(save_series(tmp_path / "one", array), array)
    thick = save_series(tmp_path / "thick", array, SpacingBetweenSlices=6)
    assert_read(thick, array, lps_affine((0.8, 0.7, 6)))
    assert unstated(save_series(tmp_path / "flat", array, SliceThickness=None)) == "the thickness of its slice"
    assert "is one slice of a DICOM series: name the folder of its series" in line(thick / "1_000.dcm")


def test_names_of_dicom_files(tmp_path):
    save_series(tmp_path / "s", voxels((4, 4, 1)))
    for name, stem in {"IM0001": "IM0001", "1.2.840.4": "1.2.840.4", "leg.dcm": "leg", "leg.IMA": "leg"}.items():
        shutil.copy(tmp_path / "s" / "1_000.dcm", tmp_path / name)
        assert split_name(tmp_path / name) == (stem, "dicom")
    assert split_name(tmp_path / "s") == ("s", "dicom")
    (tmp_path / "text").write_text("DICM")
    with pytest.raises(InputError, match="unsupported file type"):
        split_name(tmp_path / "text")


def test_series_without_names_are_told_apart_by_their_numbers(tmp_path):
    array = voxels()
    for number in (1, 2):  # at half the distance, so that together they would be an even volume
        shifted = [lambda k, half=half: place(k + half) for half in (0, 0.5)][number - 1]
        save_series(tmp_path / "s", array, series=f"{number}", SeriesNumber=number, SeriesInstanceUID="",
                    ImagePositionPatient=shifted)  # fmt: skip
    message = line(tmp_path / "s")
    assert (
        "received 2 (without a name (number 1, 6 files, the first '1_000.dcm'), without a name (number 2, " in message
    )


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", None])
def test_a_slice_that_got_lost_on_the_way_is_told_though_it_is_the_last(content, tmp_path):
    array = voxels()
    save_series(tmp_path / "s", array)
    lost = tmp_path / "s" / "1_005.dcm"
    lost.unlink()
    lost.symlink_to("not-fetched") if content is None else lost.write_bytes(content)
    assert "1_005.dcm' cannot be read: it is no DICOM file, and stands where one of the series should be" in line(
        lost.parent
    )
    lost.rename(lost.with_name("._1_005.dcm"))  # macOS' own
    assert_read(tmp_path / "s", array[:, :, :5])
