"""DICOM SEG beside masks: the same voxels, by the positions of frames, by highdicom and by SimpleITK."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import AXIAL, frames, item, place, save, save_series, voxels
from pydicom import dcmread
from pydicom.uid import EnhancedUSVolumeStorage, MRImageStorage, NuclearMedicineImageStorage
from read_seg import assert_overlays

from kseg.console.errors import InputError
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.dicom_seg.own_name import is_seg_as_written
from kseg.volumes.dicom_seg.segments import Segment, segments_of
from kseg.volumes.dicom_seg.write import write_dicom_seg
from kseg.volumes.read import open_image
from kseg.volumes.write import write_label_map

hd = pytest.importorskip("highdicom", reason="needs kseg[dicom-seg]")

SHAPE = (9, 7, 6)
WHOLE_BYTES = (8, 7, 6)  # GDCM, in ITK, forgets the bits of a last byte that is not full
CLASSES = {"soleus": (100,), "gastrocnemius": (150, 151), "nowhere": (7,)}
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.77"
REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "formats" / "ct_dicom"


def turned(x: float, y: float, z: float) -> np.ndarray:
    """A rotation by angles in degrees about the three axes, one after another."""
    turn = np.eye(3)
    for axis, degrees in enumerate((x, y, z)):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(3)
        first, second = (other for other in range(3) if other != axis)
        one[first, first], one[first, second], one[second, first], one[second, second] = cos, -sin, sin, cos
        turn = one @ turn
    return turn


SAGITTAL = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]) @ np.diag([1, 1, -1])
CORONAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def written(
    scan: Path, out: Path, structures: Mapping[str, Any] = CLASSES, mask: np.ndarray | None = None, **options: Any
) -> tuple[Path, Path, tuple[str, ...]]:
    """The DICOM SEG of a scan and its mask in NIfTI, random labels throughout unless one is given; and the notes."""
    image = open_image([scan], scan.name, ())
    if mask is None:
        mask = np.random.default_rng(3).choice([0, 100, 150, 151], image.shape).astype(np.uint8)
        mask[:, :, 2:3] = 0  # a slice without anything
    out.mkdir(exist_ok=True)
    write_label_map(out / "mask.nii.gz", mask, image.stored)
    segments = segments_of(mask, structures, options.pop("codes", {}))
    algorithm = Algorithm("legs", "ab" * 32)
    notes = write_dicom_seg(out / "mask.seg.dcm", mask, segments, scan, image.stored, algorithm, **options)
    return out / "mask.seg.dcm", out / "mask.nii.gz", notes


@pytest.mark.parametrize("reverse", [False, True], ids=["upwards", "downwards"])
@pytest.mark.parametrize(
    "axes",
    [AXIAL, SAGITTAL, CORONAL, turned(10, -20, 35), turned(-80, 40, 5)],
    ids=["axial", "sagittal", "coronal", "oblique", "steep"],
)
def test_segments_lie_where_the_mask_lies(axes: np.ndarray, reverse: bool, tmp_path: Path) -> None:
    last = SHAPE[2] - 1
    where: Callable[[int], list[float]] = lambda k: place(last - k if reverse else k, axes)  # noqa: E731
    save_series(tmp_path / "leg", voxels(SHAPE), axes, ImagePositionPatient=where)
    seg, mask, _ = written(tmp_path / "leg", tmp_path / "out")
    assert_overlays(seg, mask, CLASSES)


def test_files_in_any_order_are_referred_to_by_the_frames_at_their_place(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 4, 2]
    save_series(tmp_path / "leg", voxels(SHAPE), ImagePositionPatient=lambda k: place(order[k]))
    seg, mask, _ = written(tmp_path / "leg", tmp_path / "out")
    assert_overlays(seg, mask, CLASSES)
    positions = {}
    for file in (tmp_path / "leg").iterdir():
        header = dcmread(file)
        positions[header.SOPInstanceUID] = header.ImagePositionPatient
    found = dcmread(seg)
    for groups in found.PerFrameFunctionalGroupsSequence:
        (derived,) = groups.DerivationImageSequence
        (image,) = derived.SourceImageSequence
        assert positions[image.ReferencedSOPInstanceUID] == groups.PlanePositionSequence[0].ImagePositionPatient
    (series,) = found.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} == set(positions)


def test_highdicom_reads_the_voxels_of_the_mask(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(SHAPE), turned(10, -20, 35), FrameOfReferenceUID=FRAME_OF_REFERENCE)
    seg, mask, notes = written(tmp_path / "leg", tmp_path / "out")
    assert notes == ()
    found = hd.seg.segread(seg)
    volume = found.get_volume(combine_segments=False, allow_missing_positions=True)
    values = sitk.ReadImage(str(mask))
    for index in np.ndindex(*volume.spatial_shape):
        point = volume.affine @ [*index, 1]
        try:
            value = values[values.TransformPhysicalPointToIndex(point[:3].tolist())]
        except RuntimeError:
            pytest.fail(f"voxel {index} lies outside the mask")
        expected = [value in own for own in CLASSES.values()]
        assert volume.array[index].astype(bool).tolist() == expected


def test_simpleitk_reads_a_whole_segment_onto_the_masks_grid(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(WHOLE_BYTES), turned(10, -20, 35))
    image = open_image([tmp_path / "leg"], "leg", ())
    mask = np.random.default_rng(5).integers(0, 2, image.shape).astype(np.uint8)
    seg, nifti, _ = written(tmp_path / "leg", tmp_path / "out", {"soleus": (1,)}, mask)
    found, expected = (sitk.ReadImage(str(path)) for path in (seg, nifti))
    onto = sitk.Resample(found, expected, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(onto) > 0, sitk.GetArrayFromImage(expected) > 0)


def test_simpleitk_decodes_the_frames_of_all_segments(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(WHOLE_BYTES))
    seg, _, _ = written(tmp_path / "leg", tmp_path / "out")
    header = dcmread(seg)
    size = (header.NumberOfFrames, header.Rows, header.Columns)
    bits = np.unpackbits(np.frombuffer(header.PixelData, np.uint8), bitorder="little")[: np.prod(size)].reshape(size)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(seg))) > 0, bits > 0)


@pytest.mark.parametrize("order", [range(6), [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_frames_of_a_file_are_referred_to_by_their_numbers(order: Any, tmp_path: Path) -> None:
    scan = save(frames(voxels(SHAPE), order), tmp_path / "leg.dcm")
    seg, mask, _ = written(scan, tmp_path / "out")
    assert_overlays(seg, mask, CLASSES)
    places = [groups.PlanePositionSequence[0].ImagePositionPatient for groups in _per_frame(scan)]
    for groups in _per_frame(seg):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert image.ReferencedSOPInstanceUID == dcmread(scan).SOPInstanceUID
        assert places[image.ReferencedFrameNumber - 1] == groups.PlanePositionSequence[0].ImagePositionPatient


def _per_frame(path: Path) -> Any:
    return dcmread(path).PerFrameFunctionalGroupsSequence


def test_a_frame_that_repeats_another_is_left_out(tmp_path: Path) -> None:
    scan = save(frames(voxels(SHAPE), [0, 1, 2, 2, 3, 4, 5]), tmp_path / "leg.dcm")
    seg, mask, _ = written(scan, tmp_path / "out")
    assert_overlays(seg, mask, CLASSES)
    numbers = [
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for groups in _per_frame(seg)
    ]
    assert set(numbers) <= {1, 2, 3, 5, 6, 7} and 7 in numbers


def test_frames_each_with_an_orientation_and_those_of_nuclear_medicine_are_written_too(tmp_path: Path) -> None:
    turn = {"PlaneOrientationSequence": item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])}
    each = frames(voxels(SHAPE), shared={"PlaneOrientationSequence": None}, each=lambda _: turn)  # type: ignore[dict-item]
    old = frames(voxels(SHAPE), kind=NuclearMedicineImageStorage, SpacingBetweenSlices=2.0, SliceVector=[*range(1, 7)])
    for group in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        delattr(old, group)
    old.ImagePositionPatient, old.ImageOrientationPatient, old.PixelSpacing = place(0), [1, 0, 0, 0, 1, 0], [0.7, 0.8]
    for name, made in (("each", each), ("old", old)):
        seg, mask, _ = written(save(made, tmp_path / f"{name}.dcm"), tmp_path / name)
        assert_overlays(seg, mask, CLASSES)


def test_regions_overlap_as_the_mask_says(tmp_path: Path) -> None:
    regions = {"whole": (1, 2, 3), "core": (2, 3), "rim": (3,)}
    save_series(tmp_path / "head", voxels(SHAPE), SOPClassUID=MRImageStorage, Modality="MR")
    image = open_image([tmp_path / "head"], "head", ())
    mask = np.random.default_rng(5).integers(0, 4, image.shape).astype(np.uint8)
    seg, nifti, _ = written(tmp_path / "head", tmp_path / "out", regions, mask)
    assert_overlays(seg, nifti, regions)
    assert dcmread(seg).SegmentsOverlap == "YES"


def test_a_mask_without_anything_says_so_of_each_class(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(SHAPE))
    image = open_image([tmp_path / "leg"], "leg", ())
    seg, nifti, _ = written(tmp_path / "leg", tmp_path / "out", mask=np.zeros(image.shape, np.uint8))
    assert_overlays(seg, nifti, CLASSES)
    with pytest.raises(InputError, match="the mask is empty, and nobody says what might have been in it"):
        segments_of(np.zeros(image.shape, np.uint8), {}, {})


def test_values_without_names_are_labels_by_their_values() -> None:
    mask = np.array([[[0, 3], [150, 3]]], np.uint8)
    assert segments_of(mask, {}, {}) == [Segment("label 3", (3,)), Segment("label 150", (150,))]


def test_who_and_what_is_said(tmp_path: Path) -> None:
    save_series(
        *(tmp_path / "leg", voxels(SHAPE)),
        **{"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "PatientID": "7", "PatientSex": "male"},
        **{"StudyDate": "20260102", "FrameOfReferenceUID": FRAME_OF_REFERENCE, "SeriesNumber": 3},
    )
    structures = {"soleus": (100,), "tumour\\λ": (150,), "fat": (151,)}
    codes = {"tumour\\λ": ("108369006", "SCT", "Neoplasm"), "fat": ("55603005", "SCT", "Adipose tissue")}
    seg, _, _ = written(tmp_path / "leg", tmp_path / "out", structures, codes=codes)
    found, header = dcmread(seg), dcmread(next((tmp_path / "leg").iterdir()))
    assert str(found.PatientName) == "Müller^Jörg" and found.PatientID == "7" and found.PatientSex == ""
    for keyword in ("StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert found[keyword].value == header[keyword].value
    assert (found.Manufacturer, found.ManufacturerModelName, found.DeviceSerialNumber) == ("kseg", "legs", "ab" * 32)
    assert (found.SegmentationType, found.SeriesNumber, found.Modality) == ("BINARY", 1003, "SEG")
    told = [
        (
            *(segment.SegmentLabel, segment.SegmentAlgorithmType),
            segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning,
            segment.SegmentedPropertyTypeCodeSequence[0].CodeValue,
        )
        for segment in found.SegmentSequence
    ]
    assert told == [
        ("soleus", "AUTOMATIC", "Tissue", "85756007"),
        ("tumour/λ", "AUTOMATIC", "Morphologically Abnormal Structure", "108369006"),
        ("fat", "AUTOMATIC", "Tissue", "55603005"),
    ]
    (algorithm,) = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == ("kseg legs", f"model_sha256={'ab' * 32}")
    by_hand, _, _ = written(tmp_path / "leg", tmp_path / "out", structures, by_hand=True)
    assert dcmread(by_hand).SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_what_was_written_is_known_and_named_by_its_content(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(SHAPE))
    seg, nifti, _ = written(tmp_path / "leg", tmp_path / "out")
    again, _, _ = written(tmp_path / "leg", tmp_path / "again", {"Wadenmuskel ä": (100,)})
    same, _, _ = written(tmp_path / "leg", tmp_path / "same")
    assert is_seg_as_written(seg) and is_seg_as_written(again) and not is_seg_as_written(nifti)
    first, other, second = (dcmread(path) for path in (seg, again, same))
    assert first.SOPInstanceUID == second.SOPInstanceUID != other.SOPInstanceUID
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID
    changed = dcmread(seg)
    changed.SegmentSequence[0].SegmentLabel = "corrected"
    changed.save_as(tmp_path / "label.dcm")
    drawn = dcmread(seg)
    drawn.PixelData = bytes([drawn.PixelData[0] ^ 1]) + drawn.PixelData[1:]
    drawn.save_as(tmp_path / "drawn.dcm")
    (tmp_path / "cut.dcm").write_bytes(seg.read_bytes()[:-500])
    (tmp_path / "link.dcm").symlink_to(seg)
    for name in ("label.dcm", "drawn.dcm", "cut.dcm", "link.dcm", "none.dcm"):
        assert not is_seg_as_written(tmp_path / name)
    assert not is_seg_as_written(next((tmp_path / "leg").iterdir()))


def test_a_series_whose_names_were_blotted_out_gets_others_and_a_note(tmp_path: Path) -> None:
    save_series(tmp_path / "leg", voxels(SHAPE), SOPInstanceUID="", StudyInstanceUID="", SeriesInstanceUID="")
    seg, mask, notes = written(tmp_path / "leg", tmp_path / "out")
    assert notes == (
        "does not say its StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID: its DICOM SEG has made-up ones, by "
        "which no archive finds it",
    )
    assert_overlays(seg, mask, CLASSES)
    again, _, _ = written(tmp_path / "leg", tmp_path / "again")
    assert dcmread(seg).StudyInstanceUID == dcmread(again).StudyInstanceUID


def unplaced(folder: Path) -> Path:
    return save_series(folder, voxels(SHAPE), ImagePositionPatient=None, SpacingBetweenSlices=2.0)


def of_a_probe(folder: Path) -> Path:
    positions = {"PlanePositionSequence": None}
    each = lambda k: positions | {"PlanePositionVolumeSequence": item(ImagePositionVolume=place(k))}  # noqa: E731
    turn = {
        "PlaneOrientationSequence": None,
        "PlaneOrientationVolumeSequence": item(ImageOrientationVolume=[1, 0, 0, 0, 1, 0]),
    }
    return save(frames(voxels(SHAPE), kind=EnhancedUSVolumeStorage, shared=turn, each=each), folder / "leg.dcm")  # type: ignore[arg-type]


def of_two_studies(folder: Path) -> Path:
    return save_series(folder, voxels(SHAPE), StudyInstanceUID=lambda k: f"1.2.3.{k // 3}")


def undated(folder: Path) -> Path:
    return save_series(folder, voxels(SHAPE), StudyDate="in May")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (unplaced, "does not say where it lies in the patient"),
        (of_a_probe, r"says where it lies by the probe \(Enhanced US Volume\), not in the patient"),
        (of_two_studies, r"is of 2 studies \(StudyInstanceUID\)"),
        (undated, "has tags of which highdicom makes none"),
    ],
)
def test_a_scan_of_which_there_can_be_none_is_refused_in_a_line(
    make: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    scan = make(tmp_path / "leg")
    with pytest.raises(InputError, match=reason) as caught:
        written(scan, tmp_path / "out")
    message = str(caught.value)
    assert str(scan) in message and "\n" not in message
    assert message.endswith("the mask is there, a DICOM SEG is not; leave out --dicom-seg for this scan")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy, of Debian's dicom3tools")
@pytest.mark.parametrize("kind", ["series", "frames", "overlap", "empty"])
def test_dciodvfy_finds_no_error(kind: str, tmp_path: Path) -> None:
    scan = tmp_path / "leg"
    if kind == "frames":
        save(frames(voxels(SHAPE)), scan)
    else:
        save_series(
            scan, voxels(SHAPE), turned(10, -20, 35), PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"
        )
    mask = np.zeros(open_image([scan], "leg", ()).shape, np.uint8) if kind == "empty" else None
    structures = {"λ": (100, 150), "soleus": (100,)} if kind == "overlap" else CLASSES
    assert_valid(written(scan, tmp_path / "out", structures, mask)[0])


def assert_valid(seg: Path) -> None:
    said = subprocess.run(["dciodvfy", str(seg)], capture_output=True, text=True, check=False).stderr
    assert "Segmentation" in said and "Error" not in said


@pytest.mark.skipif(not REAL.is_dir(), reason="real scans absent: ../shared/data")
def test_a_real_series_overlays_and_is_valid(tmp_path: Path) -> None:
    image = open_image([REAL], "ct", ())
    mask = np.zeros(image.shape, np.uint8)
    mask[200:310, 150:400, 3:17] = 100
    mask[260:, 10:90, 5:] = 150
    seg, nifti, notes = written(REAL, tmp_path / "out", mask=mask)
    assert_overlays(seg, nifti, CLASSES)
    assert len(notes) == 1 and "StudyInstanceUID, SeriesInstanceUID:" in notes[0]
    if shutil.which("dciodvfy"):
        assert_valid(seg)
