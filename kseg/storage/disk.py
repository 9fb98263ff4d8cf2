"""Whether a disk takes what a command is about to write there."""

import errno
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from kseg.console.disk_errors import refusals_told

PROBE = bytes(4096)


def check_writable(folder: Path) -> None:
    """Make a folder, if need be, and see to it that a disk takes a file there.

    Raises:
        InputError: it does not; the message says why.
    """
    with refusals_told():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
                file.write(PROBE)
                file.flush()
        except OSError as error:
            code = errno.ENOTDIR if isinstance(error, FileExistsError) else error.errno
            raise OSError(code, os.strerror(code or errno.EIO), str(folder)) from None


def longest_name(folder: Path) -> int:
    """Return how many bytes a file's name in a folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255
