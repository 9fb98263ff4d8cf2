"""The voxels of a MetaImage, plane by plane, raw, compressed or as text, from one file or from several."""

import math
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.header import Read, absent_voxels, damaged_file, reader_of
from kseg.volumes.formats.metaimage_header import MetaHeader, Packing

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
READ_AT_ONCE = 2**18
INFLATE = zlib.MAX_WBITS | 32  # zlib or gzip, as ITK accepts


@dataclass(frozen=True)
class Voxels:
    """The voxels of a MetaImage: `(i, j, k)`, or `(i, j, k, channels)` with the channels of a voxel side by side.

    Each of `paths` holds an equal part of them, from the byte that `starts` names.
    """

    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    packing: Packing
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes_of_a_part(self) -> int:
        """Bytes, raw, of the voxels that each file holds."""
        return int(np.prod(self.shape)) * self.dtype.itemsize // len(self.paths)

    def read(self, counts: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield arrays of as many planes (`kseg.volumes.formats.header.Read`)."""
        i, j, _, *channels = self.shape
        plane_bytes = int(np.prod([i, j, *channels])) * self.dtype.itemsize
        with closing(self._parts()) as parts:
            take = _across(parts, self.bytes_of_a_part)
            for count in counts:
                content = take(count * plane_bytes)
                array = np.frombuffer(content, self.dtype).reshape(*channels, i, j, count, order="F")
                yield np.moveaxis(array, 0, -1) if channels else array
            take(0)

    def _parts(self) -> Generator[Callable[[int], bytes], None, None]:
        """Yield for each file a function from a number of bytes to as many; for 0, the rest of it is checked."""
        for path, start in zip(self.paths, self.starts, strict=True):
            with path.open("rb") as file:
                file.seek(start)
                take: Callable[[int], bytes] = file.read
                if self.packing == "compressed":
                    take = _inflating(path, file)
                elif self.packing == "text":
                    take = BytesIO(_numbers(path, file.read(), self.dtype)).read
                yield _counted(path, take, self.bytes_of_a_part)


def voxels_of(header: MetaHeader) -> tuple[tuple[int, ...], np.dtype, Read]:
    """Return shape, type and a way to the voxels; those of a fourth axis are read at once.

    Raises:
        InputError: a file of them is missing, or shorter than the header says; their names do not fit the planes; or
            they are of a type without a certain size.
    """
    sizes, channels = header.numbers("DimSize"), next(iter(header.numbers("ElementNumberOfChannels")), 1)
    if len(sizes) < 3:
        raise InputError(f"'{header.path}' must hold a volume of three axes: received {tuple(sizes)}.")
    if (name := header.fields["ElementType"]) not in TYPES:
        raise InputError(f"'{header.path}' has voxels of the type {name}: convert it to one of {', '.join(TYPES)}.")
    i, j, *rest = sizes
    shape = (i, j, math.prod(rest), *([channels] if channels > 1 else []))
    voxels = _find(header, shape, np.dtype(header.byte_order + TYPES[name]))
    if len(rest) == 1:
        return shape, voxels.dtype, voxels.read
    array = next(voxels.read([shape[2]])).reshape(*sizes, *shape[3:], order="F")
    array = array.reshape(*sizes[:3], *(length for length in array.shape[3:] if length != 1))
    return array.shape, array.dtype, reader_of(array)


def _find(header: MetaHeader, shape: tuple[int, ...], dtype: np.dtype) -> Voxels:
    paths = header.files()
    if missing := [path for path in paths if not path.is_file()]:
        raise absent_voxels(header.path, missing[0])
    skipped = next(iter(header.numbers("HeaderSize")), 0)
    voxels = Voxels(tuple(paths), (0,) * len(paths), header.packing, shape, dtype)
    if skipped < 0 and voxels.packing != "raw":
        raise damaged_file(header.path, f"HeaderSize {skipped} is for voxels of a known number of bytes")
    wanted = voxels.bytes_of_a_part
    starts = [_start(header, path, skipped, wanted) for path in paths]
    for path, start in zip(paths, starts, strict=True):
        if voxels.packing == "raw" and (present := path.stat().st_size - start) < wanted:
            raise damaged_file(path, f"expected {wanted} bytes of voxels, got {present}")
    return replace(voxels, starts=tuple(starts))


def _start(header: MetaHeader, path: Path, skipped: int, wanted: int) -> int:
    """The byte at which the voxels of a file begin: -1 stands for so many before its end."""
    if skipped == -1:
        return max(0, path.stat().st_size - wanted)
    return skipped if skipped > 0 else header.end if header.is_local else 0


def _across(parts: Iterator[Callable[[int], bytes]], bytes_of_a_part: int) -> Callable[[int], bytes]:
    """Return a function from a number of bytes to as many, of parts of one length that follow each other."""
    part, left = next(parts), bytes_of_a_part

    def take(wanted: int) -> bytes:
        nonlocal part, left
        pieces = []
        while wanted > left:
            pieces.append(part(left))
            wanted -= left
            part(0)
            part, left = next(parts), bytes_of_a_part
        pieces.append(part(wanted))
        left -= wanted
        return b"".join(pieces)

    return take


def _counted(path: Path, take: Callable[[int], bytes], whole: int) -> Callable[[int], bytes]:
    """Return a function like `take`, which hands out less where a file ends, that raises `InputError` then."""
    received = 0

    def counting(wanted: int) -> bytes:
        nonlocal received
        content = take(wanted)
        received += len(content)
        if len(content) < wanted:
            raise damaged_file(path, f"expected {whole} bytes of voxels, got {received}")
        return content

    return counting


def _inflating(path: Path, file: BinaryIO) -> Callable[[int], bytes]:
    """Return a function from a number of bytes to as many inflated ones; for 0, all that is left is checked."""
    stream = zlib.decompressobj(wbits=INFLATE)

    def take(wanted: int) -> bytes:
        parts, missing = [], wanted
        while not stream.eof and (missing > 0 or wanted == 0):
            packed = stream.unconsumed_tail or file.read(READ_AT_ONCE)
            if not packed:
                raise damaged_file(path, "the compressed voxels end early")
            try:
                part = stream.decompress(packed, missing or READ_AT_ONCE)
            except zlib.error as error:
                raise damaged_file(path, str(error)) from error
            if wanted:
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)

    return take


def _numbers(path: Path, text: bytes, dtype: np.dtype) -> bytes:
    """Return as voxels the numbers that a file has as text."""
    words = text.split()
    try:
        numbers = np.array(words, dtype if dtype.itemsize == 8 else np.float64)
    except ValueError as error:
        raise damaged_file(path, str(error)) from error
    with np.errstate(invalid="ignore"):
        voxels = numbers.astype(dtype)
    if dtype.kind in "iu" and (voxels != numbers).any():
        raise damaged_file(path, f"its numbers are not all of the type {dtype}")
    return voxels.tobytes()
