"""Where each plane of a DICOM file lies, and what it holds, by the tags that say so.

A file of one slice is a plane; one of many frames has a plane for each. Of the geometry only what a file states is
taken: the spacing at the detector (Imager Pixel Spacing) or of a scanned film is none at the patient, and a slice's
thickness is no distance to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.uid import NuclearMedicineImageStorage, RTDoseStorage

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.volumes.formats.dicom_errors import dicom_errors, in_a_line
from kseg.volumes.formats.dicom_file import DicomFile
from kseg.volumes.formats.dicom_pixels import Pixels
from kseg.volumes.formats.dicom_values import Rescale, rescale_of
from kseg.volumes.formats.header import damaged_file

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
POSITION, ORIENTATION = "ImagePositionPatient", "ImageOrientationPatient"
ABSURD = 1e9  # mm
CENTIMETRES = 3  # of an ultrasound region's units
GREY = ("MONOCHROME1", "MONOCHROME2")  # the first is shown inverted, its values are none the less what is stored
TELLING = (  # tags that tell volumes at one place apart
    *("EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime"),
    *("DiffusionBValue", "AcquisitionNumber", "ImageType", "AcquisitionTime", "ContentTime"),
)


@dataclass(frozen=True)
class Plane:
    """One slice: frame `frame` of a file's pixel data, and what its tags state (None: nothing).

    `position` (3) in LPS mm is that of its first pixel, `axes` (2, 3) are the directions along a row and down a column,
    `spacing_mm` (2) the distances between neighbours along them; `distance_mm` is that to the next slice. `number` is
    its own in the series or file, `in_volume` how many there are; `traits` may tell it from another at its place.
    """

    pixels: Pixels
    frame: int
    rescale: Rescale
    position: np.ndarray | None
    axes: np.ndarray | None
    spacing_mm: np.ndarray | None
    distance_mm: float | None
    thickness_mm: float | None
    number: int | None
    in_volume: int | None
    traits: dict[str, Any] = field(default_factory=dict)


def is_multi_frame(file: DicomFile) -> bool:
    """Whether a file may hold a volume by itself: it has frames, or could have."""
    return file.pixels is not None and (file.pixels.frames > 1 or any(group in file.tags for group in GROUPS))


def planes_of(file: DicomFile, pixels: Pixels) -> list[Plane]:
    """Return the planes of an image in the order of the file.

    Raises:
        InputError: colour, a mosaic, or tags that contradict each other or are no numbers.
    """
    tags, path = file.tags, file.path
    colours = pixels.options["photometric_interpretation"]
    if colours not in GREY or pixels.options["samples_per_pixel"] != 1:
        raise InputError(f"'{path}' must hold grey values: received the colours {colours!r}; export grey values.")
    with dicom_errors(path):
        if "MOSAIC" in (tags.get("ImageType") or ()):
            raise InputError(f"'{path}' shows its slices side by side (a mosaic): convert it with dcm2niix.")
        if any(group in tags for group in GROUPS):
            return _by_groups(file, pixels)
        states = _Tags(path, tags)
        spacing = states.spacing()
        if spacing is None and file.kind.name.startswith("Ultrasound"):
            spacing = _region_spacing(states, pixels)
        positions, axes = _positions(file, states, pixels)
        return [
            Plane(
                *(pixels, frame, rescale_of(pixels, tags), positions[frame], axes, spacing),
                *(states.length("SpacingBetweenSlices"), states.length("SliceThickness")),
                *(states.whole("InstanceNumber"), states.whole("NumberOfSlices")),
                {name: tags[name].value for name in TELLING if name in tags},
            )
            for frame in range(pixels.frames)
        ]


@dataclass(frozen=True)
class _Tags:
    """Tags of a file or of an item in it, as numbers."""

    path: Path
    tags: Dataset

    def numbers(self, name: str, count: int) -> np.ndarray | None:
        value = self.tags.get(name)
        if value is None or np.size(value) == 0 or value == "":
            return None
        numbers = np.atleast_1d(np.array(value, np.float64))
        if numbers.shape != (count,) or not (np.abs(numbers) < ABSURD).all():
            raise damaged_file(self.path, f"{name} must be {count} numbers, and is {in_a_line(value)}")
        return numbers

    def length(self, name: str) -> float | None:
        number = self.numbers(name, 1)
        return None if number is None or number[0] == 0 else float(number[0])

    def whole(self, name: str) -> int | None:
        value = self.tags.get(name)
        return None if value is None or value == "" else int(value)

    def position(self, name: str) -> np.ndarray | None:
        return self.numbers(name, 3)

    def axes(self, name: str) -> np.ndarray | None:
        """Two axes at right angles, of length 1 in spite of rounded cosines, as ITK makes them."""
        numbers = self.numbers(name, 6)
        if numbers is None:
            return None
        row, column = numbers.reshape(2, 3)
        lengths = np.linalg.norm([row, column], axis=1)
        if abs(lengths - 1).max() > 0.01 or abs(row @ column) > 0.01:
            raise damaged_file(self.path, f"{name} must be two directions at right angles, and is {numbers.tolist()}")
        normal = np.cross(row, column)
        axes = np.array([row, np.cross(normal, row)])
        return axes / np.linalg.norm(axes, axis=1, keepdims=True)

    def spacing(self) -> np.ndarray | None:
        """Distances along a row and down a column: Pixel Spacing has that of the rows first."""
        numbers = self.numbers("PixelSpacing", 2)
        if numbers is not None and (numbers < 0).any():
            raise damaged_file(self.path, f"PixelSpacing must be positive, and is {numbers.tolist()}")
        return None if numbers is None or not numbers.all() else numbers[::-1]


def _by_groups(file: DicomFile, pixels: Pixels) -> list[Plane]:
    """Planes of a file whose frames have functional groups: each has its own, or shares that of all."""
    tags = file.tags
    shared = (tags.get(GROUPS[0]) or [Dataset()])[0]
    each = tags.get(GROUPS[1]) or [Dataset()] * pixels.frames
    if len(each) != pixels.frames:
        raise damaged_file(file.path, f"it describes {counted(len(each), 'frame')} and has {pixels.frames}")
    indices = [item.get("DimensionIndexPointer") for item in tags.get("DimensionIndexSequence") or ()]
    names = [keyword_for_tag(pointer) if pointer else "" for pointer in indices]

    def group(frame: Dataset, *sequences: str) -> Dataset:
        found = [place.get(sequence) for sequence in sequences for place in (frame, shared)]
        return next((items[0] for items in found if items), Dataset())

    planes = []
    for number, frame in enumerate(each):
        place = _Tags(file.path, group(frame, "PlanePositionSequence", "PlanePositionVolumeSequence"))
        turn = _Tags(file.path, group(frame, "PlaneOrientationSequence", "PlaneOrientationVolumeSequence"))
        measures = _Tags(file.path, group(frame, "PixelMeasuresSequence"))
        values = group(frame, "FrameContentSequence").get("DimensionIndexValues") or ()
        planes.append(
            Plane(
                *(pixels, number, rescale_of(pixels, group(frame, "PixelValueTransformationSequence") or tags)),
                _first(place.position(POSITION), place.position("ImagePositionVolume")),
                _first(turn.axes(ORIENTATION), turn.axes("ImageOrientationVolume")),
                *(measures.spacing(), measures.length("SpacingBetweenSlices"), measures.length("SliceThickness")),
                _Tags(file.path, tags).whole("InstanceNumber") if pixels.frames == 1 else number + 1,
                None,
                dict(zip(names, values if isinstance(values, Sequence) else [values], strict=False)),
            )
        )
    return planes


def _first(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return other if one is None else one


def _positions(file: DicomFile, states: _Tags, pixels: Pixels) -> tuple[list[np.ndarray | None], np.ndarray | None]:
    """Positions of the planes of a file without functional groups, and their axes."""
    position, axes = states.position(POSITION), states.axes(ORIENTATION)
    if pixels.frames == 1:
        return [position], axes
    nowhere: list[np.ndarray | None] = [None] * pixels.frames
    if file.kind == NuclearMedicineImageStorage and file.tags.get("DetectorInformationSequence"):
        detector = _Tags(file.path, file.tags.DetectorInformationSequence[0])
        position = _first(position, detector.position(POSITION))
        axes = _first(axes, detector.axes(ORIENTATION))
    if position is None or axes is None:
        return nowhere, None
    along = _offsets(file, states, pixels, position, axes)
    if along is None:  # the first frame's place alone does not say on which side the others lie
        return nowhere, None
    normal = np.cross(*axes)
    return [position + offset * normal for offset in along], axes


def _offsets(
    file: DicomFile, states: _Tags, pixels: Pixels, position: np.ndarray, axes: np.ndarray
) -> np.ndarray | None:
    """Distances in mm of frames from the first along the normal, where the kind of object defines them."""
    if file.kind == RTDoseStorage and (offsets := states.numbers("GridFrameOffsetVector", pixels.frames)) is not None:
        if offsets[0] == 0 or (offsets[0] == position[2] and np.cross(*axes)[2] > 0.999):  # or coordinates along z
            return offsets - offsets[0]
        raise damaged_file(file.path, f"GridFrameOffsetVector begins with {offsets[0]:g}, not 0")
    distance = states.length("SpacingBetweenSlices")  # negative where slices are stacked in front of the first
    if file.kind == NuclearMedicineImageStorage and distance is not None and "SliceVector" in file.tags:
        numbers = states.numbers("SliceVector", pixels.frames)
        return None if numbers is None else (numbers - 1) * distance
    return None


def _region_spacing(states: _Tags, pixels: Pixels) -> np.ndarray | None:
    """Spacing of an ultrasound image by its calibrated region, if that is the only one and covers the image."""
    regions = [
        region
        for region in states.tags.get("SequenceOfUltrasoundRegions") or ()
        if region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == CENTIMETRES
    ]
    if len(regions) != 1:
        return None
    rows, columns = pixels.shape
    corners = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
    left, top, right, bottom = (int(regions[0].get(name, -2)) for name in corners)
    if left > 1 or top > 1 or right < columns - 2 or bottom < rows - 2:
        return None
    region = _Tags(states.path, regions[0])
    deltas = region.length("PhysicalDeltaX"), region.length("PhysicalDeltaY")
    return None if None in deltas else np.abs(np.array(deltas, np.float64)) * 10
