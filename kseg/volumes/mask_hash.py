"""The hash in a mask's header by which kseg knows a mask that it wrote, and that nobody has changed since.

It is a hash of the voxels. A program with which a mask is corrected by hand may keep the header's other fields, and so
the hash; but the voxels are then others than those that it stands for. It goes where the mask goes, and needs no file
beside it.
"""

import hashlib
import re
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.header import Read, reader_of
from kseg.volumes.formats.open import open_header

FIELD = "KsegMask"
"""The field's name: of NIfTI's description, of a MetaImage, or of a NRRD's key."""
IN_A_HEADER = re.compile(rb"%b *:?= *([0-9a-f]{64})" % FIELD.encode())
HEADER_BYTES = 4096  # of a mask of kseg's are fewer
PLANES_AT_ONCE = 32


def mask_hash_of(array: np.ndarray) -> str:
    """Return the hash of label values, integers `(i, j, k)` as a file stores them: 64 hexadecimal digits."""
    return _hash(array.shape, array.dtype, reader_of(array))


def is_as_written(path: Path) -> bool:
    """Whether a file is a mask that kseg wrote, with the voxels that it had then; a link is none of kseg's."""
    try:
        if path.is_symlink() or not path.is_file() or (stated := _stated(path)) is None:
            return False
        header = open_header(path)
        return stated == _hash(header.shape, header.dtype, header.read)
    except (InputError, OSError):  # damaged, or of no type that kseg writes
        return False


def bears_hash(path: Path) -> bool:
    """Whether a file's header says that it is a mask of kseg's, whatever became of its voxels since.

    Of a file that cannot be read it says nothing: whoever opens that tells why.
    """
    try:
        return path.is_file() and _stated(path) is not None
    except OSError:
        return False


def _stated(path: Path) -> str | None:
    """The hash that stands in a header, if one does."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    with suppress(zlib.error):  # it is not compressed
        start = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(start, HEADER_BYTES)
    found = IN_A_HEADER.search(start)
    return found[1].decode() if found else None


def _hash(shape: tuple[int, ...], dtype: np.dtype, read: Read) -> str:
    little = dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{little.str} {shape}".encode())
    counts = (min(PLANES_AT_ONCE, shape[2] - first) for first in range(0, shape[2], PLANES_AT_ONCE))
    for part in read(counts):
        digest.update(part.astype(little, copy=False).tobytes(order="F"))
    return digest.hexdigest()
