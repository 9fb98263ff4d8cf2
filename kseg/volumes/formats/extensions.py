"""File types by their names."""

import os
from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom_magic import is_dicom

DICOM = "dicom"
DICOM_EXTENSIONS = (".dcm", ".ima")
NIFTI_EXTENSIONS = (".nii.gz", ".nii")
META_IMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
EXTENSIONS = (*NIFTI_EXTENSIONS, *META_IMAGE, *NRRD)
DICOM_SEG = ".seg.dcm"
"""How the DICOM SEG beside a mask is called after the mask's stem."""


def split_name(path: Path) -> tuple[str, str]:
    """Stem and file type of a volume: ("hip_017", ".nii.gz"); (its name, "dicom") for a folder or a DICOM file.

    A DICOM file is known by its name (`scan.dcm`, `scan.ima`) or, since it needs none, by its content.
    `InputError` for an unsupported extension.
    """
    if os.path.isdir(path):  # noqa: PTH112 (a Path refuses a link into a closed folder)
        return path.resolve().name if path.name in ("", "..") else path.name, DICOM  # a link has a name of its own
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)], extension
    for extension in DICOM_EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)], DICOM
    if is_dicom(path):
        return path.name, DICOM
    raise InputError(
        f"'{path}' is of an unsupported file type: convert it to one of {', '.join(EXTENSIONS)}, "
        "or give the folder of a DICOM series, or a DICOM file of many frames."
    )


def is_stored(path: Path) -> bool:
    """Whether something is a file or a folder; who opens a pipe waits for another to write to it, perhaps for ever."""
    return path.is_file() or path.is_dir()


def is_unicode(name: str) -> bool:
    """Whether a name can be written as UTF-8: one in Latin-1, as old archives leave them, cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
