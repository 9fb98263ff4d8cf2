"""From stored pixels to the values they stand for: rescale, one type for all planes, nothing wrapped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut

from kseg.volumes.formats.dicom_errors import dicom_errors
from kseg.volumes.formats.dicom_pixels import Pixels
from kseg.volumes.formats.header import damaged_file

INTEGERS = [np.dtype(name) for name in ("u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8")]
EXACT = 2**53  # integers beyond it may be no float64


@dataclass(frozen=True)
class Rescale:
    """What makes values of stored pixels: `stored * slope + intercept`, or a table (Modality LUT Sequence)."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Dataset | None = None

    def range(self, pixels: Pixels) -> tuple[int, int] | None:
        """Return the least and the largest value that may come out; None where they are no integers."""
        if self.table is not None:
            return 0, 2 ** int(self.table.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        if pixels.range is None or not (self.slope.is_integer() and self.intercept.is_integer()):
            return None
        low, high = sorted(int(self.slope) * stored + int(self.intercept) for stored in pixels.range)
        return low, high

    def values(self, stored: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the values of stored pixels, of a type that holds them; floats are computed in double precision."""
        if self.table is not None:
            return apply_modality_lut(stored, self.table).astype(dtype)
        if (self.slope, self.intercept) == (1, 0):
            return stored
        if dtype.kind == "f":
            return stored.astype(np.float64) * self.slope + self.intercept
        return stored.astype(np.int64) * int(self.slope) + int(self.intercept)


def rescale_of(pixels: Pixels, tags: Dataset) -> Rescale:
    """Return the rescale of a file, or of the item of a sequence that holds that of a frame.

    Raises:
        InputError: a slope of 0, which no pixel can be told from, or a number that is none.
    """
    with dicom_errors(pixels.path):
        if "ModalityLUTSequence" in tags and tags.ModalityLUTSequence:
            table = Dataset()
            table.set_original_encoding(*tags.original_encoding)
            table.ModalityLUTSequence = tags.ModalityLUTSequence
            return Rescale(table=table)
        slope = "DoseGridScaling" if "DoseGridScaling" in tags else "RescaleSlope"
        rescale = Rescale(_number(tags, slope, 1), _number(tags, "RescaleIntercept", 0))
    if rescale.slope == 0 or not np.isfinite([rescale.slope, rescale.intercept]).all():
        raise damaged_file(pixels.path, f"its values are rescaled by {rescale.slope:g} and {rescale.intercept:g}")
    return rescale


def _number(tags: Dataset, name: str, default: float) -> float:
    value = tags.get(name)
    return float(default if value is None or value == "" else value)


def type_of(values: Sequence[tuple[Pixels, Rescale]]) -> np.dtype:
    """Return the one type for planes: the narrowest integers that hold what any may hold, else float32."""
    ranges = [rescale.range(pixels) for pixels, rescale in values]
    known = [extent for extent in ranges if extent is not None]
    if len(known) == len(ranges):
        low, high = min(low for low, _ in known), max(high for _, high in known)
        for dtype in INTEGERS:
            if np.iinfo(dtype).min <= low and high <= min(np.iinfo(dtype).max, EXACT):
                return dtype
    return np.dtype(np.float32)


def read_values(planes: Sequence[tuple[Pixels, int, Rescale]], dtype: np.dtype) -> np.ndarray:
    """Read planes, each a file's pixel data, a frame of it and its rescale, as (columns, rows, planes) of a type.

    Raises:
        InputError: a file is damaged.
    """
    rows, columns = planes[0][0].shape
    out = np.empty((len(planes), rows, columns), dtype)
    for plane, stored, (pixels, _, rescale) in zip(out, _stored(planes), planes, strict=True):
        # Beyond float32 becomes infinite, which is refused where images are read.
        with np.errstate(over="ignore"), dicom_errors(pixels.path):
            plane[...] = rescale.values(stored, dtype)
    return out.transpose(2, 1, 0)


def _stored(planes: Sequence[tuple[Pixels, int, Rescale]]) -> Iterator[np.ndarray]:
    for _, group in groupby(planes, key=lambda plane: id(plane[0])):
        frames = list(group)
        yield from frames[0][0].read([frame for _, frame, _ in frames])
