"""Whether a file is DICOM, by its first bytes: names like `IM0001` and `1.2.840.113619.2` say nothing."""

import re
from pathlib import Path

from kseg.console.errors import InputError

CONTENTS = "DICOMDIR"  # a medium's table of contents: DICOM, but no image
MAGIC_AT = 128
# Without preamble a file begins with an element of group 2 or 8: its number, then a value representation or a length.
BARE = re.compile(rb"[\x02\x08]\0.\0(?:[A-Z]{2}..|..\0\0)|\0[\x02\x08]\0.(?:[A-Z]{2}..|\0\0..)", re.DOTALL)


def is_dicom(file: Path) -> bool:
    """Whether a file says that it is DICOM: the mark `DICM` after 128 bytes, or, without these, a first element.

    False for a folder, for what is not there, and for a medium's table of contents (`DICOMDIR`). `InputError` for a
    file that may not be read.
    """
    if not file.is_file() or file.name.upper() == CONTENTS:
        return False
    try:
        with file.open("rb") as stream:
            start = stream.read(MAGIC_AT + 4)
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror}; fix its permissions, or remove it.") from error
    return has_magic(start) or bool(BARE.match(start))


def dicom_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are DICOM, by name. Raises `InputError` as `is_dicom` does."""
    return sorted(file for file in folder.iterdir() if is_dicom(file))


def has_magic(start: bytes) -> bool:
    """Whether a file that begins with these bytes bears DICOM's mark."""
    return start[MAGIC_AT:] == b"DICM"
