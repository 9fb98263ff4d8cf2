"""The voxels of a MetaImage, plane by plane, raw or inflated, from one file or from several."""

import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.metaimage_header import MetaHeader
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
    """The voxels of a MetaImage: `(i, j, k)`, or `(i, j, k, channels)` with the channels of a voxel side by side.

    Each of `paths` holds an equal part of them, from the byte that `starts` names.
    """

    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    compressed: bool
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes_of_a_part(self) -> int:
        """Bytes, inflated, that each file holds."""
        return int(np.prod(self.shape)) * self.dtype.itemsize // len(self.paths)

    def read(self, counts: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield arrays of as many planes (`kseg.volumes.formats.stored.Read`)."""
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
                take = _inflating(path, file) if self.compressed else file.read
                yield _counted(path, take, self.bytes_of_a_part)


def find_voxels(header: MetaHeader) -> Voxels | None:
    """Return where the voxels are, or None where only ITK can tell: written as text, or of four axes.

    Raises:
        InputError: a file of them is missing, or shorter than the header says; or their names do not fit the planes.
    """
    sizes, skipped = header.numbers("DimSize"), header.numbers("HeaderSize") or [0]
    compressed = header.says("CompressedData")
    known = header.says("BinaryData") and header.fields.get("ElementType") in TYPES
    if not known or len(sizes) != 3 or (compressed and skipped != [0]):
        return None
    paths = header.files()
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"'{header.path}' keeps its voxels in '{missing[0]}', which does not exist: put it there.")
    big_endian = header.says("BinaryDataByteOrderMSB") or header.says("ElementByteOrderMSB")
    dtype = np.dtype((">" if big_endian else "<") + TYPES[header.fields["ElementType"]])
    channels = next(iter(header.numbers("ElementNumberOfChannels")), 1)
    shape = (*sizes, *([channels] if channels > 1 else []))
    voxels = Voxels(tuple(paths), (0,) * len(paths), compressed, shape, dtype)
    wanted = voxels.bytes_of_a_part
    starts = [_start(header, path, skipped[0], wanted) for path in paths]
    for path, start in zip(paths, starts, strict=True):
        if not compressed and (present := path.stat().st_size - start) < wanted:
            raise damaged(path, f"expected {wanted} bytes of voxels, got {present}")
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
            raise damaged(path, f"expected {whole} bytes of voxels, got {received}")
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
