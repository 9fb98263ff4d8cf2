"""NIfTI-1 and -2, compressed or not, plane by plane."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError

from kseg.volumes.formats.stored import Header, Read, damaged

MM_PER_UNIT = {1: 1e3, 3: 1e-3}  # NIfTI-1: 1 metre, 2 mm, 3 micron, 0 unknown, which is taken as mm
UNREADABLE = (  # a quaternion that is no rotation is a ValueError, axes of absurd length a MemoryError
    *(ImageFileError, HeaderDataError, WrapStructError),
    *(OSError, EOFError, zlib.error, ValueError, MemoryError, OverflowError),
)
SKIPPED_AT_ONCE = 2**20


def open_nifti(path: Path) -> Header:
    """Read the header of a NIfTI file.

    The affine is nibabel's: the sform where its code is set, else the qform. With neither code set the header
    only knows the spacing; nibabel then centres the grid and lets i run to the left, where SimpleITK has its
    origin at voxel 0 and j reversed. No choice could please both, hence `placed`. Metres and microns
    become mm, as in ITK (nibabel leaves them). Voxels that the header scales are float32.
    """
    with _open(path) as stream:
        second = nib.Nifti2Header.may_contain_header(stream.read(540))
        stream.seek(0)
        kind = nib.Nifti2Image if second else nib.Nifti1Image
        image = kind.from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False)
        stored, header = image.dataobj, image.header
        codes, unit = (int(header["sform_code"]), int(header["qform_code"])), int(header["xyzt_units"]) & 7
    scaling = (float(stored.slope), float(stored.inter))
    scale = None if scaling == (1, 0) else scaling
    shape = tuple(map(int, stored.shape))
    shape = (*shape[:3], *(length for length in shape[3:] if length != 1))
    unit_mm = MM_PER_UNIT.get(unit, 1.0)
    return Header(
        shape,
        np.dtype(np.float32) if scale else stored.dtype,
        np.diag([unit_mm, unit_mm, unit_mm, 1.0]) @ image.affine,
        any(codes),
        _reader(path, int(stored.offset), shape, stored.dtype, scale),
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
            while streams[-1].read(SKIPPED_AT_ONCE):  # to the end, where gzip compares its checksum
                pass

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
    return apply_read_scaling(array, slope, inter).astype(np.float32, copy=False)


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, inflated; whatever goes wrong with its content is an `InputError`."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as stream:
            yield stream
    except UNREADABLE as error:
        raise damaged(path, str(error).split("\n", 1)[0] or type(error).__name__) from error
