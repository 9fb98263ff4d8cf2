"""Pixel data of a DICOM file: where it is, whether all of it is there, and its frames as they are stored.

pydicom decodes what is native, deflated or RLE, GDCM the JPEG family. No other decoder is asked, though pydicom would
try what is installed: values must not depend on that, and Pillow makes a picture of a stream that is cut short.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    RLELossless,
)

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.volumes.formats.dicom_errors import dicom_errors, in_a_line, quiet_codecs
from kseg.volumes.formats.dicom_streams import Stream, check_streams, find_fragments
from kseg.volumes.formats.header import damaged_file

KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
FLOATS = ("FloatPixelData", "DoubleFloatPixelData")
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Pixels:
    """The pixel data of a file.

    `offset` is the byte at which its value begins (0 in what a deflated file inflates to), `options` what pydicom's
    decoders need to know, `range` the least and the largest value that its bits can hold, None for floats.
    """

    path: Path
    syntax: UID
    offset: int
    options: dict[str, Any]
    range: tuple[int, int] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.options["rows"], self.options["columns"]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.options["number_of_frames"]

    def read(self, frames: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield frames by their numbers from 0 on, in the order given: (rows, columns), as stored.

        Raises:
            InputError: the data is damaged, or holds values beyond the bits that it states.
        """
        codec = self.syntax.is_encapsulated and self.syntax != RLELossless
        # GDCM looks at the stream itself; pydicom keeps it from JPEG Extended of 12 bits, which it decodes.
        decoder = get_decoder(JPEGLossless if self.syntax == JPEGExtended12Bit else self.syntax)
        with ExitStack() as stack:
            with dicom_errors(self.path):
                file = stack.enter_context(self._open())
                how = {"decoding_plugin": "gdcm"} if codec else {"correct_unused_bits": False}
                decoded = decoder.iter_array(file, indices=list(frames), raw=True, **how, **self.options)
            for _ in frames:
                with dicom_errors(self.path), ExitStack() as quiet:
                    if codec:
                        quiet.enter_context(quiet_codecs())
                    array, _ = next(decoded)
                yield self._within_bits(array, codec)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self.syntax == DeflatedExplicitVRLittleEndian:
            with BytesIO(dcmread(self.path, force=True)[self.options["pixel_keyword"]].value) as inflated:
                yield inflated
        else:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                yield file

    def _within_bits(self, array: np.ndarray, codec: bool) -> np.ndarray:
        """Cut off the bits around those in use; a codec gives values, which must lie within them."""
        if self.range is None:
            return array
        if codec:
            low, high = self.range
            if array.min() < low or array.max() > high:
                raise damaged_file(self.path, f"pixels of {array.min()} to {array.max()} in bits for {low} to {high}")
            return array
        allocated, stored = self.options["bits_allocated"], self.options["bits_stored"]
        if allocated == stored:
            return array
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return array << (allocated - 1 - self.options["high_bit"]) >> (allocated - stored)


def find_pixels(path: Path, file: BinaryIO, tags: Dataset, syntax: UID) -> Pixels | None:
    """Return where the pixel data of a file is, which has been read up to there; None where it has none.

    Raises:
        InputError: it is shorter than its tags say, says nothing of its bits, or is compressed in a way that cannot be
            decoded.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        whole = dcmread(path, force=True, specific_tags=list(KEYWORDS.values()))
        keyword = next((keyword for keyword in KEYWORDS.values() if keyword in whole), "")
        vr, length, offset, available = "OW", len(whole[keyword].value) if keyword else 0, 0, UNDEFINED
    else:
        keyword, vr, length = _pixel_element(file, tags)
        offset = file.tell()
        available = os.fstat(file.fileno()).st_size - offset
    if not keyword:
        return None
    options = {**as_pixel_options(tags), "pixel_keyword": keyword, "pixel_vr": vr}
    options.setdefault("bits_stored", options.get("bits_allocated"))
    options["high_bit"] = tags.get("HighBit", (options["bits_stored"] or 0) - 1)
    _check_options(path, options)
    pixels = Pixels(path, syntax, offset, options, _range(options))
    _check_decoder(path, syntax, length)
    if syntax.is_encapsulated:
        _find_frames(pixels, file)
    else:
        _check_length(pixels, min(length, available), length)
    return pixels


def _pixel_element(file: BinaryIO, tags: Dataset) -> tuple[str, str, int]:
    """Keyword, value representation and length of the element that begins here, or ("", "", 0)."""
    implicit, little = tags.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    begin = file.read(8)
    if len(begin) < 8:
        return "", "", 0
    tag = int.from_bytes(begin[:2], order) << 16 | int.from_bytes(begin[2:4], order)
    vr = "OW" if implicit else begin[4:6].decode("latin-1")
    return KEYWORDS.get(tag, ""), vr, int.from_bytes(begin[4:] if implicit else file.read(4), order)


def _check_options(path: Path, options: dict[str, Any]) -> None:
    needed = ["rows", "columns", "samples_per_pixel", "photometric_interpretation", "bits_allocated"]
    needed += [] if options["pixel_keyword"] in FLOATS else ["pixel_representation"]
    if missing := [name for name in needed if not isinstance(options.get(name), int | str)]:
        raise damaged_file(path, f"its tags do not say {', '.join(missing).replace('_', ' ')}")
    allocated, stored, high = (options[name] for name in ("bits_allocated", "bits_stored", "high_bit"))
    if not 1 <= stored <= high + 1 <= allocated <= 64:
        raise damaged_file(path, f"{stored} bits up to bit {high} cannot be stored in {allocated}")
    if min(options["rows"], options["columns"], options["number_of_frames"]) < 1:
        raise damaged_file(
            path, f"it has {counted(options['rows'], 'row')} and {counted(options['columns'], 'column')}"
        )


def _range(options: dict[str, Any]) -> tuple[int, int] | None:
    if options["pixel_keyword"] in FLOATS:
        return None
    values = 2 ** options["bits_stored"]
    return (-values // 2, values // 2 - 1) if options["pixel_representation"] else (0, values - 1)


def _check_decoder(path: Path, syntax: UID, length: int) -> None:
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise InputError(
            f"'{path}' is compressed as '{in_a_line(syntax.name)}', which cannot be decoded: save it uncompressed."
        )
    if syntax.is_encapsulated != (length == UNDEFINED):
        raise damaged_file(path, f"its pixel data is not what '{syntax.name}' looks like")


def _check_length(pixels: Pixels, present: int, stated: int) -> None:
    """`InputError` unless native pixel data has as many bytes as its frames need, and no frame beyond them."""
    rows, columns = pixels.shape
    frame_bits = rows * columns * pixels.options["samples_per_pixel"] * pixels.options["bits_allocated"]
    wanted = math.ceil(frame_bits * pixels.frames / 8)
    if present < wanted:
        raise damaged_file(pixels.path, f"expected {wanted} bytes of pixels, got {present}")
    if stated - wanted >= max(frame_bits / 8, 2):
        raise damaged_file(pixels.path, f"expected {wanted} bytes of pixels in {pixels.frames} frames, got {stated}")


def _find_frames(pixels: Pixels, file: BinaryIO) -> None:
    """Check compressed pixel data as far as it goes undecoded.

    Where each fragment is a frame, their places go into the options: without a table of them, which may be left out,
    pydicom would walk through all fragments for every frame, and a table may be wrong.
    """
    fragments = find_fragments(pixels.path, file)
    if pixels.syntax != RLELossless:
        stated = Stream(*pixels.shape, pixels.options["samples_per_pixel"], pixels.options["bits_allocated"])
        check_streams(pixels.path, file, fragments, [stated] * pixels.frames)
    elif len(fragments) < pixels.frames:
        raise damaged_file(pixels.path, f"expected {pixels.frames} compressed frames, got {len(fragments)}")
    if len(fragments) == pixels.frames:
        starts = [at - fragments[0][0] for at, _ in fragments]
        pixels.options["extended_offsets"] = (starts, [length for _, length in fragments])
