"""One DICOM file: its tags, read once and without the pixels, and whether it holds an image."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    EnhancedUSVolumeStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ParametricMapStorage,
    RTDoseStorage,
)

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom_errors import dicom_errors, in_a_line
from kseg.volumes.formats.dicom_magic import MAGIC_AT, has_magic
from kseg.volumes.formats.dicom_pixels import Pixels, find_pixels
from kseg.volumes.formats.header import damaged_file

TAGS = [  # all that is asked for: a series may have 1500 files, and the rest of their tags is passed over
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("ImageType", "InstanceNumber", "NumberOfSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PresentationLUTShape"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "DoseGridScaling", "GridFrameOffsetVector"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"),
    *("SequenceOfUltrasoundRegions", "DetectorInformationSequence", "FrameIncrementPointer", "SliceVector"),
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime"),
    *("DiffusionBValue", "AcquisitionNumber", "AcquisitionTime", "ContentTime"),
]
ENCODINGS = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
IMAGE_CLASS = " Image Storage"  # "CT Image Storage", and "Digital X-Ray Image Storage - For Presentation"
IMAGE_CLASSES = (EnhancedUSVolumeStorage, RTDoseStorage, ParametricMapStorage)
LABELS = "Segmentation Storage"  # "Segmentation Storage", "Label Map Segmentation Storage": no intensities


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file whose pixels are not read yet.

    `kind` is its SOP class, `series` the unique name of its series and `series_number` the number, as they are
    written; `pixels` is None where it is no image.
    """

    path: Path
    kind: UID
    series: str
    series_number: str
    tags: Dataset
    pixels: Pixels | None


def read_file(path: Path) -> DicomFile | None:
    """Read the tags of a file that `is_dicom`; None where it turns out to be none, for want of DICOM's mark.

    Structure sets, reports, presentation states and the like have no pixels, segmentations no intensities: whatever
    is not stored as an image is none.

    Raises:
        InputError: it is damaged, or an image that cannot be decoded.
    """
    with ExitStack() as stack:
        with dicom_errors(path):
            file = stack.enter_context(path.open("rb"))
        marked = has_magic(file.read(MAGIC_AT + 4))
        file.seek(0)
        try:
            with dicom_errors(path):
                tags = dcmread(file, stop_before_pixels=True, force=True, specific_tags=TAGS)
                kind = tags.get("SOPClassUID") or tags.file_meta.get("MediaStorageSOPClassUID") or ""
                kind = UID(str(kind))
        except InputError:
            if marked:
                raise
            return None
        if not kind.is_valid:
            if not marked:
                return None
            raise damaged_file(path, "its tags do not say what it holds")
        with dicom_errors(path):
            pixels = _pixels_of(path, tags, kind, file)
            number = tags.get_item("SeriesNumber")  # not as a number, which a file of one series need not have
            series = in_a_line(tags.get("SeriesInstanceUID", "")), in_a_line(number.value or "" if number else "")
            return DicomFile(path, kind, *series, tags, pixels)


def is_segmentation(path: Path) -> bool:
    """Whether a file says, before its tags, that it holds labels.

    Raises:
        InputError: it cannot be read.
    """
    with dicom_errors(path):
        return LABELS in UID(str(read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))).name


def _pixels_of(path: Path, tags: Dataset, kind: UID, file: BinaryIO) -> Pixels | None:
    stated = IMAGE_CLASS in kind.name or kind in IMAGE_CLASSES
    if LABELS in kind.name or not (stated or "Rows" in tags):
        return None
    syntax = (
        tags.file_meta.get("TransferSyntaxUID")
        or ENCODINGS[bool(tags.original_encoding[0]), bool(tags.original_encoding[1])]
    )
    pixels = find_pixels(path, file, tags, UID(syntax))
    if pixels is None and stated:
        raise damaged_file(path, "its pixels are missing")
    return pixels
