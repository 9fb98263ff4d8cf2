"""The files that a volume is made of, by what is in them: whatever changes it, and nothing else, is in one of these."""

from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom_magic import dicom_files
from kseg.volumes.formats.extensions import META_IMAGE, NRRD, split_name
from kseg.volumes.formats.metaimage_header import MetaHeader, read_meta_header
from kseg.volumes.formats.nrrd_header import NrrdHeader, read_nrrd_header


def files_of(path: Path) -> list[Path]:
    """All files of a volume, sorted: of a folder those that are DICOM, of a header its own and those it names.

    What cannot be read, and a header that names no files that could be, stands alone. Files need not exist.
    """
    header: MetaHeader | NrrdHeader
    try:
        if path.is_dir():
            return dicom_files(path)
        extension = split_name(path)[1]
        if extension not in (*META_IMAGE, *NRRD) or not path.is_file():
            return [path]
        header = read_meta_header(path) if extension in META_IMAGE else read_nrrd_header(path)
        return sorted({path, *header.files()})
    except (InputError, OSError):
        return [path]
