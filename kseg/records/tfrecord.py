"""Records in a TFRecord file, written one after another and read at their places.

The framing is TensorFlow's (tensorflow.org/tutorials/load_data/tfrecord): length, masked CRC32C of the length, content,
masked CRC32C of the content, little-endian. TensorFlow itself would take 0.6 GB in each process that prepares.
"""

import hashlib
import os
import struct
from types import TracebackType

import google_crc32c

from kseg.console.errors import InputError
from kseg.storage.locations import Location

PREPARE_AGAIN = "prepare the dataset again"
"""What helps where a shard or its dataset cannot be used, as errors say it."""
HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
MASK = 0xA282EAD8


class RecordWriter:
    """Writes a new TFRecord file, as a context manager; `size` and `sha256` are those of what is written so far."""

    def __init__(self, path: Location) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> int:
        """Append a record and return the place at which it begins."""
        place, length = self.size, struct.pack("<Q", len(content))
        for part in (length + FOOTER.pack(_masked_crc(length)), content, FOOTER.pack(_masked_crc(content))):
            self._file.write(part)
            self._digest.update(part)
            self.size += len(part)
        return place

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class RecordReader:
    """Reads records of a TFRecord file at given places, as a context manager.

    Raises:
        InputError: the file is not there, or there is no whole record at a place.
    """

    def __init__(self, path: Location) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"shard '{path}' cannot be opened ({reason}): {PREPARE_AGAIN}") from None
        self._size = self._file.seek(0, os.SEEK_END)

    def read(self, place: int) -> bytes:
        """Return the content of the record that begins at byte `place`."""
        content = self._read(place)
        if content is None:
            raise InputError(f"shard '{self._path}' is damaged at byte {place}: {PREPARE_AGAIN}")
        return content

    def _read(self, place: int) -> bytes | None:
        if not 0 <= place < self._size:
            return None
        self._file.seek(place)
        header = self._file.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        length, crc = HEADER.unpack(header)
        if crc != _masked_crc(header[:8]) or length > self._size - self._file.tell() - FOOTER.size:
            return None
        content = self._file.read(length)
        return content if self._file.read(FOOTER.size) == FOOTER.pack(_masked_crc(content)) else None

    def __enter__(self) -> "RecordReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _masked_crc(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF
