"""DICOM files of many frames: geometry and values of each frame as its functional groups state them, or one line.

The references: what was written, and pydicom's reading of each frame.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_dicom import (
    ORIGIN_MM,
    SPACING_MM,
    assert_read,
    dicom,
    frames,
    item,
    line,
    lps_affine,
    place,
    save,
    set_pixels,
    voxels,
)
from pydicom import dcmread, uid
from pydicom.pixels import apply_rescale, pixel_array

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import open_dicom
from kseg.volumes.formats.open import open_stored
from kseg.volumes.geometry import spacing_mm
from kseg.volumes.read import read_volume
from kseg.volumes.write import mask_files

SHUFFLED = [3, 0, 5, 1, 4, 2]
PLANE_POSITION = "PlanePositionSequence"


@pytest.mark.parametrize("order", [range(6), range(5, -1, -1), SHUFFLED], ids=["up", "down", "shuffled"])
@pytest.mark.parametrize(
    "kind",
    [uid.EnhancedCTImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedPETImageStorage],
    ids=lambda kind: kind.keyword,
)
def test_frames_are_put_in_order_by_their_positions(kind, order, tmp_path):
    array = voxels()
    assert_read(save(frames(array, order, kind), tmp_path / "leg.dcm"), array)


@pytest.mark.parametrize(
    "syntax",
    [uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1],
    ids=lambda syntax: syntax.keyword,
)
def test_compressed_frames_are_put_in_order(syntax, tmp_path):
    array = voxels((16, 14, 6), low=0)
    assert_read(save(frames(array, SHUFFLED), tmp_path / "leg.dcm", syntax), array)


def test_frames_are_read_in_any_portions(tmp_path):
    array = voxels()
    header = open_dicom(save(frames(array, SHUFFLED), tmp_path / "leg.dcm"))
    read = list(header.read([1, 4, 1]))
    assert [part.shape[2] for part in read] == [1, 4, 1]
    np.testing.assert_array_equal(np.concatenate(read, axis=2), array)


def test_each_frame_has_its_own_rescale(tmp_path):
    def scaled(k: int) -> dict:
        return {"PixelValueTransformationSequence": item(RescaleSlope=0.1 * (k + 1), RescaleIntercept=k)}

    path = save(frames(voxels(), SHUFFLED, each=scaled), tmp_path / "leg.dcm")
    made = dcmread(path)
    stored = [pixel_array(made, index=n) for n in range(6)]
    groups = [group.PixelValueTransformationSequence[0] for group in made.PerFrameFunctionalGroupsSequence]
    values = [apply_rescale(*both) for both in zip(stored, groups, strict=True)]
    assert_read(path, np.stack([values[SHUFFLED.index(k)].T for k in range(6)], axis=2))


def test_orientation_and_spacing_may_stand_in_each_frame(tmp_path):
    def own(k: int) -> dict:
        return {
            "PlaneOrientationSequence": item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
            PLANE_POSITION: item(ImagePositionPatient=[ORIGIN_MM[0] - 2 * k, ORIGIN_MM[1], ORIGIN_MM[2]]),
            "PixelMeasuresSequence": item(PixelSpacing=[0.7, 0.8]),
        }

    array = voxels()
    shared = {"PlaneOrientationSequence": None, "PixelMeasuresSequence": None}
    path = save(frames(array, SHUFFLED, shared=shared, each=own), tmp_path / "leg.dcm")
    sagittal = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)
    assert_read(path, array, lps_affine(axes=sagittal))


def test_an_ultrasound_volume_lies_where_its_own_frame_of_reference_says(tmp_path):
    shared = {
        "PlaneOrientationSequence": None,
        "PlaneOrientationVolumeSequence": item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0]),
    }
    array = voxels(low=0, high=255).astype(np.uint8)
    made = frames(
        *(array, SHUFFLED, uid.EnhancedUSVolumeStorage, shared),
        each=lambda k: {"PlanePositionVolumeSequence": item(ImagePositionVolume=place(k))},
        positions=False,
    )
    path = save(made, tmp_path / "us.dcm")
    assert_read(path, array)
    assert open_dicom(path).dtype == np.uint8


def test_frames_that_are_no_even_stack_are_refused(tmp_path):
    def said(name: str, array=None, order=None, **options) -> str:
        return line(save(frames(voxels() if array is None else array, order, **options), tmp_path / f"{name}.dcm"))

    assert "lacks 1 frame" in said("missing", order=[0, 1, 2, 4, 5])
    assert "between 9 and 13 mm (numbers 3, 4); add what is missing" in said("gap", order=[0, 1, 2, 4, 5])
    uneven = said("uneven", each=lambda k: {PLANE_POSITION: item(ImagePositionPatient=place(1.2**k))})
    assert "the 6 frames of '" in uneven and "must be evenly spaced" in uneven
    still = said("still", each=lambda k: {PLANE_POSITION: item(ImagePositionPatient=place(0))})
    assert "holds more than one volume: two frames lie at 5 mm along their normal (numbers 1 and 2)" in still
    turned = said(
        "turned",
        shared={"PlaneOrientationSequence": None},
        each=lambda k: {"PlaneOrientationSequence": item(ImageOrientationPatient=[1, 0, 0, 0, k % 2, k % 2 - 1])},
    )
    assert "frames of one orientation" in turned
    short = frames(voxels())
    del short.PerFrameFunctionalGroupsSequence[2]
    assert "describes 5 frames and has 6" in line(save(short, tmp_path / "short.dcm"))


def test_time_points_in_one_file_are_told_by_their_index(tmp_path):
    pointers = [item(DimensionIndexPointer=tag) for tag in (0x00209056, 0x00209128)]  # stack, temporal position

    def content(k: int) -> dict:
        return {"FrameContentSequence": item(DimensionIndexValues=[1, k // 3 + 1])} | {
            PLANE_POSITION: item(ImagePositionPatient=place(k % 3))
        }

    made = frames(voxels(), each=content, DimensionIndexSequence=pointers)
    assert "two frames lie at 5 mm along their normal and differ in Temporal Position Index (1, 2)" in line(
        save(made, tmp_path / "time.dcm")
    )


def test_frames_that_repeat_others_count_once(tmp_path):
    array = voxels()
    assert_read(save(frames(array, [0, 1, 2, 2, 3, 4, 5, 0]), tmp_path / "twice.dcm"), array)


def cine(**tags):
    """Ultrasound frames one after another in time."""
    made = dicom(uid.UltrasoundMultiFrameImageStorage, FrameTime=40, FrameIncrementPointer=0x00181063)
    set_pixels(made, voxels(low=0, high=250).astype(np.uint8).T)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def region(right: int = 8, bottom: int = 6, units: int = 3, **tags):
    corners = {"RegionLocationMinX0": 0, "RegionLocationMinY0": 0}
    corners |= {"RegionLocationMaxX1": right, "RegionLocationMaxY1": bottom}
    units_of = {"PhysicalUnitsXDirection": units, "PhysicalUnitsYDirection": units}
    return item(PhysicalDeltaX=0.08, PhysicalDeltaY=0.07, **corners, **units_of, **tags)


FRAMES, BOTH = "the distance between its frames", "the size of its pixels and the distance between its frames"


@pytest.mark.parametrize(
    ("tags", "unstated", "spacing_mm"),
    [
        ({}, BOTH, (1, 1, 1)),
        ({"SequenceOfUltrasoundRegions": [region()]}, FRAMES, (0.8, 0.7, 1)),
        ({"SequenceOfUltrasoundRegions": [region(), region(units=4)]}, FRAMES, (0.8, 0.7, 1)),
        ({"SequenceOfUltrasoundRegions": [region(), region()]}, BOTH, (1, 1, 1)),
        ({"SequenceOfUltrasoundRegions": [region(right=5)]}, BOTH, (1, 1, 1)),
        ({"PixelSpacing": [0.7, 0.8], "SliceThickness": 3}, FRAMES, (0.8, 0.7, 1)),
        ({"PixelSpacing": [0.7, 0.8], "SpacingBetweenSlices": 2.5}, "", (0.8, 0.7, 2.5)),
        ({"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, BOTH, (1, 1, 1)),
        ({"ImagerPixelSpacing": [0.7, 0.8], "SpacingBetweenSlices": 2.5}, "the size of its pixels", (1, 1, 2.5)),
    ],
)
def test_a_cine_loop_states_what_its_tags_do_and_no_more(tags, unstated, spacing_mm, tmp_path):
    path = save(cine(**tags), tmp_path / "us.dcm")
    header = open_dicom(path)
    assert (header.unstated, header.placed) == (unstated, False)
    np.testing.assert_allclose(np.linalg.norm(header.affine[:3, :3], axis=0), spacing_mm)
    np.testing.assert_array_equal(next(header.read([6])), voxels(low=0, high=250))
    if unstated:
        assert f"does not state {unstated}" in line(path)
    else:
        assert not read_volume(path).stored.placed


def test_what_a_file_does_not_state_may_be_assumed_and_what_it_states_stands(tmp_path):
    path = save(cine(PixelSpacing=[1.0, 0.8]), tmp_path / "us.dcm")
    file = open_stored(path, (0.8, 1.0, 2.5))
    np.testing.assert_allclose(spacing_mm(file.geometry.affine), (0.8, 1.0, 2.5))
    assert [note for note in file.notes if FRAMES in note] and "(no position)" in file.notes[-1]
    with pytest.raises(InputError, match=r"states 1 mm .* along j, data\.assume_spacing_mm 0\.5"):
        open_stored(path, (0.8, 0.5, 2.5))


@pytest.mark.parametrize("distance_mm", [2.0, -2.0])
def test_slices_of_nuclear_medicine_are_stacked_as_the_sign_of_their_distance_says(distance_mm, tmp_path):
    made = dicom(uid.NuclearMedicineImageStorage, Modality="NM", SpacingBetweenSlices=distance_mm)
    array = voxels()
    set_pixels(made, np.stack([array[:, :, k].T for k in SHUFFLED]))
    made.PixelSpacing, made.FrameIncrementPointer = [0.7, 0.8], 0x00540080
    made.SliceVector = [k + 1 for k in SHUFFLED]
    first = place(0 if distance_mm > 0 else 5)
    detector = item(ImagePositionPatient=first, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    made.DetectorInformationSequence = [detector]
    assert_read(save(made, tmp_path / "nm.dcm"), array if distance_mm > 0 else array[..., ::-1])
    del made.SliceVector  # frames of other energies, angles or times, as far as the file says
    assert not open_dicom(save(made, tmp_path / "nm.dcm")).placed


@pytest.mark.parametrize("offsets", ["relative", "coordinates"])
def test_a_dose_grid_lies_at_its_offsets(offsets, tmp_path):
    array = voxels(low=0, high=30000).astype(np.uint16)
    made = dicom(uid.RTDoseStorage, DoseGridScaling=0.001, ImagePositionPatient=list(ORIGIN_MM))
    set_pixels(made, np.stack([array[:, :, k].T for k in range(6)]))
    made.PixelSpacing, made.ImageOrientationPatient = [0.7, 0.8], [1, 0, 0, 0, 1, 0]
    along = SPACING_MM[2] * np.arange(6) + (ORIGIN_MM[2] if offsets == "coordinates" else 0)
    made.GridFrameOffsetVector = along.tolist()
    assert_read(save(made, tmp_path / "dose.dcm"), array * 0.001)
    made.GridFrameOffsetVector = (along + 1).tolist()
    assert "GridFrameOffsetVector begins with" in line(save(made, tmp_path / "dose.dcm"))


def test_floats_are_read_as_they_are(tmp_path):
    array = np.random.default_rng(0).normal(0, 1e-3, (9, 7, 6)).astype(np.float32)
    made = frames(voxels(), kind=uid.ParametricMapStorage)
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated, made.FloatPixelData = 32, array.T.tobytes()
    assert_read(save(made, tmp_path / "map.dcm"), array)


def test_a_file_of_frames_is_a_scan_by_any_name_and_in_a_folder(tmp_path):
    array = voxels()
    path = save(frames(array), tmp_path / "leg.dcm")
    for name, mask in {"leg.dcm": "leg.nii.gz", "IM0001": "IM0001.nii.gz", "leg.IMA": "leg.nii.gz"}.items():
        scan = tmp_path / name
        if scan != path:
            shutil.copy(path, scan)
        assert_read(scan, array)
        assert mask_files(scan, read_volume(scan).stored.extension) == (mask,)
    (tmp_path / "scan").mkdir()
    shutil.copy(path, tmp_path / "scan")
    assert_read(tmp_path / "scan", array)
    assert mask_files(tmp_path / "scan", read_volume(tmp_path / "scan").stored.extension) == ("scan.nii.gz",)


def test_parts_of_one_volume_in_several_files_are_one(tmp_path):
    array = voxels()
    for part in range(2):
        made = frames(array, range(3 * part, 3 * part + 3))
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.{part + 1}"
        save(made, tmp_path / "s" / f"{part}.dcm")
    assert_read(tmp_path / "s", array)


def test_one_frame_is_as_thick_as_it_says(tmp_path):
    array = voxels((9, 7, 1))
    assert_read(save(frames(array), tmp_path / "one.dcm"), array)
    flat = frames(array, shared={"PixelMeasuresSequence": item(PixelSpacing=[0.7, 0.8])})
    assert "the thickness of its frame" in line(save(flat, tmp_path / "flat.dcm"))


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_colours_are_refused(photometric, tmp_path):
    made = cine()
    if photometric == "RGB":
        made.PixelData, made.SamplesPerPixel, made.PlanarConfiguration = bytes(3 * 9 * 7 * 6), 3, 0
    made.PhotometricInterpretation = photometric
    assert f"must hold grey values: received the colours '{photometric}'; export grey values" in line(
        save(made, tmp_path / "us.dcm")
    )


@pytest.mark.parametrize("said", [5, 7])
def test_a_number_of_frames_that_is_not_that_of_the_pixels_is_told(said, tmp_path):
    made = cine(NumberOfFrames=said)
    assert "bytes of pixels" in line(save(made, tmp_path / "us.dcm"))


def test_a_file_that_is_no_dicom_is_told(tmp_path):
    (tmp_path / "leg.dcm").write_text("not DICOM")
    assert "is no DICOM file" in line(tmp_path / "leg.dcm")
    assert "does not exist" in line(Path(tmp_path / "absent.dcm"))


def test_bytes_changed_anywhere_among_the_tags_end_in_a_volume_or_in_one_line(tmp_path, capfd):
    content = save(frames(voxels((4, 4, 3))), tmp_path / "leg.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(content)
        for at in rng.integers(128, len(content) - 96, rng.integers(1, 4)):
            changed[at] = rng.choice([0, 32, 92, 255, rng.integers(256)])
        (tmp_path / "leg.dcm").write_bytes(changed)
        try:
            assert read_volume(tmp_path / "leg.dcm").array.ndim == 3
        except InputError as error:
            assert str(error).isprintable()
    assert capfd.readouterr().err == ""
