"""File types by their names."""

from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom_mark import is_dicom

DICOM = "dicom"
DICOM_EXTENSIONS = (".dcm", ".ima")
NIFTI_EXTENSIONS = (".nii.gz", ".nii")
DETACHED = (".mhd", ".nhdr")
EXTENSIONS = (*NIFTI_EXTENSIONS, ".mha", ".mhd", ".nrrd", ".nhdr")


def split_name(path: Path) -> tuple[str, str]:
    """Stem and file type of a volume: ("hip_017", ".nii.gz"); (its name, "dicom") for a folder or a DICOM file.

    A DICOM file is known by its name (`scan.dcm`, `scan.ima`) or, since it needs none, by its content.
    `InputError` for an unsupported extension.
    """
    if path.is_dir():
        return path.resolve().name, DICOM
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


def files_of(path: Path) -> list[Path]:
    """All files that a volume is made of: a DICOM folder's, a detached header's (.mhd, .nhdr) and its own, or one."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    stem, extension = split_name(path)
    if extension in DETACHED:
        return sorted(file for file in path.parent.iterdir() if file.is_file() and file.name.startswith(f"{stem}."))
    return [path]
