"""What pydicom and the decoders behind it say of a file, as one line, and nothing of it on standard error."""

import logging
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError

from kseg.console.errors import InputError
from kseg.volumes.formats.header import damaged_file

UNREADABLE = (  # a value that is no number is a ValueError or a TypeError, a tag that lacks an AttributeError
    *(InvalidDicomError, BytesLengthException, OSError, EOFError, struct.error, zlib.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, MemoryError, RuntimeError),
)
STANDARD_ERROR = 2
ESSENCE = 200  # characters
_redirecting = threading.Lock()


@contextmanager
def dicom_errors(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file's content into an `InputError`; pydicom's warnings are kept quiet.

    pydicom warns of much that is harmless (a value longer than its type allows), and what is not is checked here.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        except InputError:
            raise
        except UNREADABLE as error:
            raise damaged_file(path, in_a_line(error).rstrip(". ") or type(error).__name__) from error
        finally:
            log.setLevel(level)


def in_a_line(value: object) -> str:
    """Return what a file or a library says as printable text of one short line."""
    words = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "?" for letter in words[:ESSENCE])


@contextmanager
def quiet_codecs() -> Iterator[None]:
    """Keep the codecs' C code, which prints what it stumbles over, from standard error."""
    with _redirecting:
        try:
            kept = os.dup(STANDARD_ERROR)
        except OSError:  # it is closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), STANDARD_ERROR)
            yield
        finally:
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)
