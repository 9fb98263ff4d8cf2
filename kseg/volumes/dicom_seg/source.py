"""The series that a mask is of, as highdicom takes it: a header for each plane, or one for a file of many frames.

What highdicom asks of a header is not always there: anonymised series lack names, frames of older kinds state their
place elsewhere. The headers are made of what kseg read, so that a segmentation lies where the mask does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import UID, EnhancedUSVolumeStorage
from pydicom.valuerep import DSfloat

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import stack_in
from kseg.volumes.formats.dicom_errors import dicom_errors
from kseg.volumes.formats.dicom_file import DicomFile
from kseg.volumes.formats.dicom_planes import GROUPS, Plane, is_multi_frame
from kseg.volumes.geometry import spacing_mm
from kseg.volumes.stored_geometry import StoredGeometry

NAMED = {
    "StudyInstanceUID": "studies",
    "SeriesInstanceUID": "series",
    "FrameOfReferenceUID": "frames of reference",
}
"""What all files of a series say alike, and of what."""
REQUIRED = (  # of a patient and a study; DICOM lets them be empty
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class Source:
    """Headers for the planes in the order of k, or one for all; `frames` are then those of the file, from 1.

    `notes` say what a user should know of it, in phrases.
    """

    headers: list[Dataset]
    frames: tuple[int, ...]
    notes: tuple[str, ...]


def derived_uid(*words: object) -> UID:
    """Return a name that is the same whenever it is derived from the same words, and no other thing has."""
    return UID(f"2.25.{uuid5(NAMESPACE_OID, ' '.join(map(str, ('kseg', *words)))).int}")


def read_source(path: Path, stored: StoredGeometry) -> Source:
    """Read the headers of the series in a folder, or of a file of many frames.

    Args:
        path: folder or file.
        stored: its grid as it was read for the mask.

    Raises:
        InputError: it says nowhere where it lies in the patient, or what it is called, or is of a kind of which
            highdicom makes no segmentation; or it has changed.
    """
    stack, files = stack_in(path)
    shape = (*stack.planes[0].pixels.shape[::-1], len(stack.planes))
    if shape != stored.shape:
        raise InputError(f"'{path}' has changed since it was segmented: run the command again")
    file_of = {file.path: file for file in files}
    used = [file_of[plane.pixels.path] for plane in stack.planes]
    if not stack.placed:
        raise InputError(f"'{path}' does not say where it lies in the patient")
    if used[0].kind == EnhancedUSVolumeStorage:  # which highdicom would take for the patient's
        raise InputError(f"'{path}' says where it lies by the probe (Enhanced US Volume), not in the patient")
    many = len(files) == 1 and is_multi_frame(files[0])
    if not many and len(set(map(id, used))) < len(used):
        raise InputError(f"'{path}' consists of several files of many frames")
    names, notes = _names(path, used)
    geometry = _Geometry(stack.planes, stored)
    first = _first_header(used[0], names)
    if many:
        return Source([geometry.of_all(first)], tuple(plane.frame + 1 for plane in stack.planes), notes)
    headers = [first, *(_header(file, names) for file in used[1:])]
    return Source([geometry.of_plane(header, k) for k, header in enumerate(headers)], (), notes)


def _names(path: Path, files: Sequence[DicomFile]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the names that a series has, and notes on those that it lacks, which are made from its files'."""
    instances = [_instance(file) for file in files]
    if missing := [file.path.name for file, name in zip(files, instances, strict=True) if not name]:
        raise InputError(f"'{path}' cannot be referred to, for {missing[0]} has no name (SOP Instance UID)")
    names, made = {}, []
    for keyword, kind in NAMED.items():
        stated = {str(file.tags.get(keyword) or "") for file in files}
        if len(stated) > 1:
            raise InputError(f"'{path}' is of {len(stated)} {kind} ({keyword})")
        names[keyword] = stated.pop()
        if not names[keyword]:
            names[keyword] = derived_uid(keyword, *sorted(instances))
            made.append(keyword)
    if not made:
        return names, ()
    return names, (f"does not say its {', '.join(made)}: its DICOM SEG has made-up ones, by which no archive finds it",)


def _instance(file: DicomFile) -> str:
    """The name of a file's image: where it was blotted out within, that before the image itself."""
    return str(file.tags.get("SOPInstanceUID") or file.tags.file_meta.get("MediaStorageSOPInstanceUID") or "")


def _header(file: DicomFile, names: dict[str, str], header: Dataset | None = None) -> Dataset:
    header = Dataset() if header is None else header
    header.SOPClassUID, header.SOPInstanceUID = file.kind, UID(_instance(file))
    header.Rows, header.Columns = file.pixels.shape if file.pixels else (0, 0)
    for keyword, name in names.items():
        setattr(header, keyword, UID(name))
    return header


def _first_header(file: DicomFile, names: dict[str, str]) -> Dataset:
    """The header with what is said of patient and study."""
    with dicom_errors(file.path):
        header: Dataset = dcmread(file.path, stop_before_pixels=True, force=True)
        header.remove_private_tags()
        for keyword in REQUIRED:
            if keyword not in header:
                setattr(header, keyword, "")
        if header.PatientSex not in SEXES:  # what else stands there has no meaning in DICOM
            header.PatientSex = ""
        header.Modality = header.get("Modality") or "OT"
        for keyword in ("ImageOrientationSlide", "ImageCenterPointCoordinatesSequence", *GROUPS):
            if keyword in header:
                delattr(header, keyword)
    return _header(file, names, header)


class _Geometry:
    """Where planes lie, as tags: what the series states, and of the spacing what kseg was told otherwise."""

    def __init__(self, planes: Sequence[Plane], stored: StoredGeometry) -> None:
        along_i, along_j, self._between = spacing_mm(stored.affine)
        first = planes[0]
        self._planes = planes
        self._spacing = (along_i, along_j) if first.spacing_mm is None else first.spacing_mm
        self._thickness = first.thickness_mm or self._between
        self._axes = np.zeros((2, 3)) if first.axes is None else first.axes

    def of_plane(self, header: Dataset, k: int) -> Dataset:
        """Put it into the header of a slice."""
        header.ImagePositionPatient = self._position(k)
        header.ImageOrientationPatient = _decimals(self._axes.ravel())
        return self._measured(header)

    def of_all(self, header: Dataset) -> Dataset:
        """Put it into the header of a file of frames, which are here in the order of k."""
        turn = _item(ImageOrientationPatient=_decimals(self._axes.ravel()))
        shared = _item(PlaneOrientationSequence=[turn], PixelMeasuresSequence=[self._measured(Dataset())])
        header.NumberOfFrames = len(self._planes)
        header.SharedFunctionalGroupsSequence = [shared]
        places = [_item(ImagePositionPatient=self._position(k)) for k in range(len(self._planes))]
        header.PerFrameFunctionalGroupsSequence = [_item(PlanePositionSequence=[place]) for place in places]
        return header

    def _position(self, k: int) -> list[DSfloat]:
        position = self._planes[k].position
        assert position is not None  # of a stack that is placed
        return _decimals(position)

    def _measured(self, header: Dataset) -> Dataset:
        header.PixelSpacing = _decimals([self._spacing[1], self._spacing[0]])
        header.SliceThickness, header.SpacingBetweenSlices = _decimals([self._thickness, self._between])
        return header


def _decimals(numbers: Any) -> list[DSfloat]:
    """Numbers as DICOM writes them, in 16 characters; what is 0 but for the last digits of a rotation is 0."""
    return [DSfloat(round(float(number), 12) + 0.0, auto_format=True) for number in numbers]


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item
