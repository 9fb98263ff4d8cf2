"""Where a MetaImage keeps its voxels (itk.org/Wiki/MetaIO), and how to read them plane by plane, raw or inflated."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.stored import damaged

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
READ_AT_ONCE = 2**18
INFLATE = zlib.MAX_WBITS | 32  # zlib or gzip, as ITK accepts


@dataclass(frozen=True)
class Voxels:
    """The voxels of a MetaImage: `(i, j, k)`, or `(i, j, k, channels)` with the channels of a voxel side by side."""

    path: Path
    start: int
    compressed: bool
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, counts: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield arrays of as many planes (`kseg.volumes.formats.stored.Read`)."""
        i, j, k, *channels = self.shape
        plane_bytes = int(np.prod([i, j, *channels])) * self.dtype.itemsize
        whole, received = k * plane_bytes, 0
        with self.path.open("rb") as file:
            file.seek(self.start)
            take = _inflating(self.path, lambda: file.read(READ_AT_ONCE)) if self.compressed else file.read
            for count in counts:
                content = take(count * plane_bytes)
                received += len(content)
                if len(content) < count * plane_bytes:
                    raise damaged(self.path, f"expected {whole} bytes of voxels, got {received}")
                array = np.frombuffer(content, self.dtype).reshape(*channels, i, j, count, order="F")
                yield np.moveaxis(array, 0, -1) if channels else array
            if self.compressed:
                take(0)  # compares the checksum


def find_voxels(path: Path) -> Voxels | None:
    """Return where the voxels are, or None where only ITK can tell: written as text, four axes, a file a slice.

    Raises:
        InputError: their file is missing, or shorter than the header says.
    """
    header, end = _read_header(path)
    where = header.get("ElementDataFile", "")
    sizes = header.get("DimSize", "").split()
    unusual = "%" in where or where.startswith("LIST") or header.get("HeaderSize", "0") != "0"
    if unusual or not _says(header, "BinaryData") or len(sizes) != 3 or header.get("ElementType") not in TYPES:
        return None
    data = path if where == "LOCAL" else path.parent / where
    if not data.is_file():
        raise InputError(f"'{path}' keeps its voxels in '{data}', which does not exist: put it there.")
    big_endian = _says(header, "BinaryDataByteOrderMSB") or _says(header, "ElementByteOrderMSB")
    dtype = np.dtype((">" if big_endian else "<") + TYPES[header["ElementType"]])
    channels = int(header.get("ElementNumberOfChannels", "1"))
    shape = (*map(int, sizes), *([channels] if channels > 1 else []))
    voxels = Voxels(data, end if data == path else 0, _says(header, "CompressedData"), shape, dtype)
    wanted, present = int(np.prod(shape)) * dtype.itemsize, data.stat().st_size - voxels.start
    if not voxels.compressed and present < wanted:
        raise damaged(data, f"expected {wanted} bytes of voxels, got {present}")
    return voxels


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and the byte after it."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in header and (line := file.readline()):
            key, _, value = line.decode("utf-8", "surrogateescape").partition("=")  # as names of files are
            header[key.strip()] = value.strip()
        return header, file.tell()


def _says(header: dict[str, str], key: str) -> bool:
    return header.get(key, "").startswith(("T", "t", "1"))


def _inflating(path: Path, read: Callable[[], bytes]) -> Callable[[int], bytes]:
    """Return a function from a number of bytes to as many inflated ones; for 0, the rest is checked."""
    stream = zlib.decompressobj(wbits=INFLATE)

    def take(wanted: int) -> bytes:
        parts, missing = [], wanted
        while not stream.eof and (missing > 0 or wanted == 0):
            packed = stream.unconsumed_tail or read()
            if not packed:
                raise damaged(path, "the compressed voxels end early")
            try:
                part = stream.decompress(packed, missing or READ_AT_ONCE)
            except zlib.error as error:
                raise damaged(path, str(error)) from error
            if wanted:
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)

    return take
