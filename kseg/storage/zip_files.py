"""Zip files that may come from anybody: whatever is wrong with one is told by one kind of error."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kseg.console.errors import InputError
from kseg.console.text import first_line

METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What is unpacked; other methods take as much memory as a file says, or may be absent from a Python."""
ENCRYPTED: Final = 1
"""The bit that says so of a part."""
MAX_SHOWN: Final = 80
AT_ONCE: Final = 2**20
FAULTS: Final = (zipfile.LargeZipFile, zlib.error, EOFError, OverflowError, RuntimeError, ValueError)
"""What `zipfile` raises for bytes that make no sense, beside `BadZipFile`."""
OF_THE_FILE: Final = (None, errno.EINVAL)
"""Codes of an `OSError` that the bytes of the file lead to, such as a place before its start, and not the disk."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip to read it within the block.

    Raises:
        zipfile.BadZipFile: it is damaged, as far as it is read; the message is one line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:  # which is a ValueError, too
        raise
    except (zipfile.BadZipFile, *FAULTS) as error:
        raise zipfile.BadZipFile(first_line(error) if str(error) else "it is cut short") from None
    except OSError as error:
        if error.errno not in OF_THE_FILE:
            raise
        raise zipfile.BadZipFile("it points to places that it does not have") from None


def check_parts(archive: zipfile.ZipFile) -> None:
    """Read all parts of a zip and compare their checksums.

    Raises:
        zipfile.BadZipFile: a part is damaged, encrypted, or compressed by a method that kseg does not read.
    """
    for part in archive.infolist():
        name = repr(part.filename[:MAX_SHOWN])
        if part.flag_bits & ENCRYPTED:
            raise zipfile.BadZipFile(f"its part {name} is encrypted")
        if part.compress_type not in METHODS:
            raise zipfile.BadZipFile(f"its part {name} is compressed by a method that is not read")
        try:
            with archive.open(part) as content:
                while content.read(AT_ONCE):
                    pass
        except (zipfile.BadZipFile, *FAULTS):
            raise zipfile.BadZipFile(f"its part {name} is damaged") from None
