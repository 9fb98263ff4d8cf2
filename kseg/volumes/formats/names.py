"""File types by their names."""

from pathlib import Path

from kseg.console.errors import InputError

DICOM = "dicom"
NIFTI_EXTENSIONS = (".nii.gz", ".nii")
META_IMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
EXTENSIONS = (*NIFTI_EXTENSIONS, *META_IMAGE, *NRRD)


def split_name(path: Path) -> tuple[str, str]:
    """Stem and file type of a volume: ("hip_017", ".nii.gz"), or (folder name, "dicom") for a folder.

    `InputError` for an unsupported extension.
    """
    if path.is_dir():
        return path.resolve().name, DICOM
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)], extension
    raise InputError(
        f"'{path}' is of an unsupported file type: convert it to one of {', '.join(EXTENSIONS)}, "
        "or give the folder of a DICOM series."
    )


def is_unicode(name: str) -> bool:
    """Whether a name can be written as UTF-8: one that a foreign archive left, `M\xfcller`, cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
