"""Writing a mask as DICOM SEG, which archives keep with the series and viewers lay over it.

It is a binary segmentation: a bit for each voxel and segment, in frames that hold some of the segment. Label map
segmentations of DICOM 2024 are smaller, but of a kind of their own that not every archive and viewer takes, and regions
may overlap in a binary one.
"""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset

from kseg import __version__
from kseg.console.errors import InputError
from kseg.console.text import first_line
from kseg.storage.files import whole_files
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.dicom_seg.own_name import name_by_content
from kseg.volumes.dicom_seg.segments import Segment, property_of, segment_pixels
from kseg.volumes.dicom_seg.source import Source, derived_uid, read_source
from kseg.volumes.geometry import from_ras
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.structure_colours import colour_of

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

SERIES_NUMBERS_FROM = 1000
"""Beyond those of a scanner, so that the segmentation of series 3 is series 1003."""
LONGEST_TEXT = 64
UTF_8 = "ISO_IR 192"
REFUSED = (ValueError, TypeError, AttributeError, LookupError)
"""What highdicom raises of headers that are not as DICOM has them."""


def require_highdicom() -> None:
    """Raise `InputError` where highdicom is not installed."""
    if find_spec("highdicom") is None:
        raise InputError("--dicom-seg needs highdicom, which is not installed: pip install 'kseg[dicom-seg]'")


def write_dicom_seg(
    path: Path,
    mask: np.ndarray,
    segments: Sequence[Segment],
    scan: Path,
    stored: StoredGeometry,
    algorithm: Algorithm,
    by_hand: bool = False,
) -> tuple[str, ...]:
    """Write a mask as DICOM SEG that refers to the images of its series; it appears once it is complete.

    Args:
        path: of the file; what is there is replaced.
        mask: label values, integers (x, y, z) in RAS+ order.
        segments: what they stand for.
        scan: folder of the series, or a file of many frames.
        stored: its grid.
        algorithm: what made the mask.
        by_hand: whether some of it was drawn by a person.

    Returns:
        Notes for the user, in phrases about the scan.

    Raises:
        InputError: of this scan there can be no segmentation.
        OSError: the disk refuses.
    """
    try:
        source = read_source(scan, stored)
    except InputError as error:
        raise no_seg(str(error)) from None
    planes = from_ras(mask, stored).transpose(2, 1, 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values in a patient's tags that are longer than they should be
            segmentation = _segmentation(source, segment_pixels(planes, segments), segments, algorithm, by_hand)
            name_by_content(segmentation)
    except REFUSED as error:
        raise no_seg(f"'{scan}' has tags of which highdicom makes none ({first_line(error)})") from None
    with whole_files(path.parent, last=path.name) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation.save_as(folder / path.name, enforce_file_format=True)
    return source.notes


def no_seg(reason: str) -> InputError:
    """Return the error about a mask beside which there can be no DICOM SEG."""
    return InputError(f"{reason}: the mask is there, a DICOM SEG is not; leave out --dicom-seg for this scan")


def _segmentation(
    source: Source, pixels: np.ndarray, segments: Sequence[Segment], algorithm: Algorithm, by_hand: bool
) -> Dataset:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    first = source.headers[0]
    number = _whole(first.get("SeriesNumber"))
    name = algorithm.name[:LONGEST_TEXT].replace("\\", "/")
    made: Dataset = Segmentation(
        source_images=source.headers,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(segments, first, algorithm, by_hand),
        series_instance_uid=derived_uid("series"),  # the content's names come later
        series_number=SERIES_NUMBERS_FROM + max(number, 0),
        sop_instance_uid=derived_uid("instance"),
        instance_number=1,
        omit_empty_frames=bool(pixels.any()),  # some frame there must be
        manufacturer="kseg",
        manufacturer_model_name=name,
        software_versions=__version__,
        device_serial_number=algorithm.model_sha256 or "unknown",
        content_label="SEGMENTATION",
        content_description=f"Segmentation by kseg, {name}"[:LONGEST_TEXT],
        series_description=f"Segmentation by kseg, {name}"[:LONGEST_TEXT],
        **_character_set((*(segment.name for segment in segments), name)),
    )
    if source.frames:
        _count_as_the_file(made, source.frames)
    return made


def _count_as_the_file(segmentation: Dataset, frames: Sequence[int]) -> None:
    """Refer to frames by their numbers in the file: highdicom counts them as it is given them, in the order of planes.

    Several frames share the item that refers to one.
    """
    groups = segmentation.PerFrameFunctionalGroupsSequence
    derived = (item for group in groups for item in group.DerivationImageSequence)
    images = {id(image): image for item in derived for image in item.SourceImageSequence}
    for image in images.values():
        image.ReferencedFrameNumber = frames[int(image.ReferencedFrameNumber) - 1]


def _descriptions(
    segments: Sequence[Segment], header: Dataset, algorithm: Algorithm, by_hand: bool
) -> "list[SegmentDescription]":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if by_hand else SegmentAlgorithmTypeValues.AUTOMATIC
    made_by = AlgorithmIdentificationSequence(
        name=f"kseg {algorithm.name}"[:LONGEST_TEXT].replace("\\", "/"),
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source="kseg",
        parameters={"model_sha256": algorithm.model_sha256} if algorithm.model_sha256 else None,
    )
    described = []
    for number, segment in enumerate(segments, start=1):
        category, kind_of_structure = property_of(segment.code)
        described.append(
            SegmentDescription(
                segment_number=number,
                segment_label=segment.label,
                segmented_property_category=category,
                segmented_property_type=kind_of_structure,
                algorithm_type=kind,
                algorithm_identification=made_by,
                # The same structure of the same series, whichever run has marked it.
                tracking_uid=derived_uid("segment", header.SeriesInstanceUID, segment.name),
                tracking_id=segment.label,
                display_color=CIELabColor.from_string(colour_of(number)),
            )
        )
    return described


def _character_set(names: Sequence[str]) -> Mapping[str, Any]:
    """The series' own letters, unless a name has others."""
    return {} if all(name.isascii() for name in names) else {"specific_character_set": UTF_8}


def _whole(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
