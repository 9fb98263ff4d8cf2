"""NIfTI-1 and -2, compressed or not, plane by plane."""

import gzip
import logging
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError

from kseg.console.errors import InputError
from kseg.console.text import first_line
from kseg.volumes.formats.header import REAL, Header, Read, damaged_file, spacing_along
from kseg.volumes.formats.nifti_place import place_of

UNREADABLE = (  # a quaternion that is no rotation is a ValueError, axes of absurd length a MemoryError
    *(HeaderDataError, WrapStructError),
    *(OSError, EOFError, zlib.error, ValueError, MemoryError, OverflowError),
)
UNHEARD = logging.Logger("what nibabel repairs")  # of what matters `place_of` tells
UNHEARD.addHandler(logging.NullHandler())
SKIPPED_AT_ONCE = 2**20
GZIP = b"\x1f\x8b"


def open_nifti(path: Path) -> Header:
    """Read the header of a NIfTI file.

    `place_of` says what its affine is. Voxels that the header scales are float32.
    """
    with _open(path) as stream:
        start = stream.read(Nifti1Header.sizeof_hdr)
        second = Nifti2Header.sizeof_hdr in (int.from_bytes(start[:4], order) for order in ("little", "big"))
        kind = Nifti2Header if second else Nifti1Header
        raw = kind(start + stream.read(kind.sizeof_hdr - len(start)), check=False)
        header = raw.copy()
        header.check_fix(logger=UNHEARD)
        stored_shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
        slope, inter = header.get_slope_inter()
        if offset < header.single_vox_offset:
            raise HeaderDataError(f"its voxels would begin at byte {offset}, within the header")
        shape = tuple(map(int, stored_shape))
        place = place_of(raw, f"'{path}'")
    shape = (*shape[:3], *(length for length in shape[3:] if length != 1))
    scale = None if (slope, inter) in ((1, 0), (None, None)) else (float(slope), float(inter))
    return Header(
        shape,
        np.dtype(np.float32) if scale and dtype.kind in REAL else dtype,
        place.affine,
        place.placed,
        _reader(path, int(offset), shape, dtype, scale),
        *((spacing_along(place.unstated), place.unstated) if place.unstated else ()),
    )


def _reader(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype, scale: tuple[float, float] | None
) -> Read:
    """Channels follow each other on disk, so each has a stream of its own, read side by side with the others."""
    plane_bytes = int(np.prod(shape[:2])) * dtype.itemsize
    channels = shape[3] if len(shape) > 3 else 1

    def read(counts: Iterable[int]) -> Iterator[np.ndarray]:
        with ExitStack() as stack:
            streams = [stack.enter_context(_open(path)) for _ in range(channels)]
            for channel, stream in enumerate(streams):
                stream.seek(offset + channel * shape[2] * plane_bytes)
            for count in counts:
                parts = [_planes(stream, count * plane_bytes, dtype) for stream in streams]
                arrays = [_scaled(part.reshape(*shape[:2], count, order="F"), scale) for part in parts]
                yield np.stack(arrays, axis=-1) if len(shape) > 3 else arrays[0]
            _read_to_the_end(streams[-1])

    return read


def _planes(stream: BufferedIOBase, wanted: int, dtype: np.dtype) -> np.ndarray:
    content = stream.read(wanted)
    if len(content) < wanted:
        raise EOFError(f"expected {wanted} bytes of voxels, got {len(content)}")
    return np.frombuffer(content, dtype)


def _scaled(array: np.ndarray, scale: tuple[float, float] | None) -> np.ndarray:
    if scale is None:
        return array
    slope, inter = (np.float32(number) for number in scale)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused where images are read
        return apply_read_scaling(array, slope, inter).astype(np.float32, copy=False)


def _read_to_the_end(stream: BufferedIOBase) -> None:
    """Read on to where gzip compares its checksum; what follows, and is no gzip, is passed over, as by gzip itself."""
    try:
        while stream.read(SKIPPED_AT_ONCE):
            pass
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, inflated where it is compressed, by its content; whatever goes wrong with it is an `InputError`."""
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] != GZIP:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream
    except InputError:  # which is a ValueError, too
        raise
    except UNREADABLE as error:
        raise damaged_file(path, first_line(error)) from error
