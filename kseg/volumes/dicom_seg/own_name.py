"""The name by which kseg knows a DICOM SEG that it wrote, and that nobody has changed since.

A segmentation's name (SOP Instance UID) is made from all that it holds, but for names and dates: the same mask of the
same series by the same model has the same name, and an archive keeps it once. What was changed has another content
than the one that its name stands for.
"""

import hashlib
import warnings
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import SegmentationStorage

from kseg.console.errors import InputError
from kseg.volumes.dicom_seg.source import derived_uid
from kseg.volumes.formats.dicom_errors import dicom_errors
from kseg.volumes.formats.dicom_magic import is_dicom

NOT_HASHED = (
    *("SOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate", "InstanceCreationTime"),
    *("ContentDate", "ContentTime", "DimensionOrganizationSequence", "DimensionIndexSequence"),
    "ContributingEquipmentSequence",
)
"""Names that are made from the hash, and when and by which version of highdicom it was written."""


def name_by_content(segmentation: Dataset) -> None:
    """Give a segmentation the names that its content has."""
    content = content_hash(segmentation)
    segmentation.SOPInstanceUID = derived_uid("instance", content)
    segmentation.file_meta.MediaStorageSOPInstanceUID = segmentation.SOPInstanceUID
    segmentation.SeriesInstanceUID = derived_uid("series", content)
    dimensions = derived_uid("dimensions", content)
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions


def is_seg_as_written(path: Path) -> bool:
    """Whether a file is a DICOM SEG that kseg wrote, with what it held then; a link is none of kseg's."""
    try:
        if path.is_symlink() or not is_dicom(path):
            return False
        with dicom_errors(path):
            found = dcmread(path)
            if found.get("SOPClassUID") != SegmentationStorage:
                return False
            return bool(found.SOPInstanceUID == derived_uid("instance", content_hash(found)))
    except (InputError, OSError):  # it may not be read, or is damaged
        return False


def content_hash(segmentation: Dataset) -> str:
    """Return the SHA-256 of what a segmentation holds, as a file in explicit little endian has it."""
    kept = Dataset()
    kept.update({tag: element for tag, element in segmentation._dict.items() if tag.group != 2})
    for keyword in NOT_HASHED:
        if keyword in kept:
            del kept[keyword]
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(stream, kept, parent_encoding=segmentation.get("SpecificCharacterSet") or "iso8859")
    return hashlib.sha256(stream.getvalue()).hexdigest()
