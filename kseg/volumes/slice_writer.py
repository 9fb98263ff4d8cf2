"""Volumes written slice by slice, for those larger than memory: NIfTI (.nii, .nii.gz) and MetaImage (.mha).

A volume is (x, y, z) with x fastest on disk, so that slices of z follow each other. A file takes its name
only once it is whole, and the same voxels give the same bytes: its gzip header holds no time of day.
"""

import gzip
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from kseg.console.errors import InputError
from kseg.storage.files import whole_file
from kseg.volumes.geometry import ras_to_lps

# Speckle hardly compresses, labels do at any level.
GZIP_LEVEL = 1
META_TYPES = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "float32": "MET_FLOAT"}


class SliceWriter:
    """Writes one volume slice by slice, as a context manager.

    `shape` is (x, y, z), `affine` maps voxel index -> RAS mm, the extension of `path` decides the format.
    Raises `InputError` for an extension, or a voxel type or size that the format cannot hold; `ValueError`
    for a slice of another shape, one too many, or too few on leaving the context; `TypeError` for a slice of
    another type. An error leaves no new file behind.
    """

    def __init__(self, path: Path, shape: Sequence[int], affine: np.ndarray, dtype: np.dtype | type = np.uint8) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.written = 0
        self._open = ExitStack()
        self._header = header(path, self.shape, affine, self.dtype)

    def __enter__(self) -> "SliceWriter":
        partial = self._open.enter_context(whole_file(self.path))
        file: BinaryIO = self._open.enter_context(partial.open("wb"))
        if self.path.name.endswith(".gz"):
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0)
            file = cast(BinaryIO, self._open.enter_context(packed))
        self._file = file
        self._file.write(self._header)
        return self

    def write(self, plane: np.ndarray) -> None:
        """Append the slice (x, y) of the next z."""
        if plane.shape != self.shape[:2] or self.written == self.shape[2]:
            raise ValueError(
                f"'{self.path.name}' holds one (x, y) slice for each z of {self.shape}. "
                f"Received one of shape {plane.shape} after {self.written} others."
            )
        self._file.write(plane.astype(self.dtype, casting="equiv", copy=False).tobytes(order="F"))
        self.written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:  # what is raised in here tells `whole_file` to leave no file
            if error is not None:
                raise error
            if self.written < self.shape[2]:
                raise ValueError(f"'{self.path.name}' needs {self.shape[2]} slices. Received {self.written}.")


def header(path: Path, shape: Sequence[int], affine: np.ndarray, dtype: np.dtype) -> bytes:
    """The bytes before the first voxel of the format that the extension of `path` names."""
    if path.name.endswith((".nii", ".nii.gz")):
        return nifti_header(shape, affine, dtype)
    if path.name.endswith(".mha"):
        return metaimage_header(shape, affine, dtype)
    raise InputError(f"cannot write '{path.name}' slice by slice: choose .nii.gz, .nii or .mha.")


def nifti_header(shape: Sequence[int], affine: np.ndarray, dtype: np.dtype) -> bytes:
    """NIfTI-1 single-file header (nifti.nimh.nih.gov/nifti-1): 348 bytes and four that say "no extension"."""
    fields = nib.Nifti1Header(endianness="<")
    try:
        fields.set_data_dtype(dtype)
        fields.set_data_shape(shape)
    except HeaderDataError as error:
        raise InputError(f"NIfTI cannot hold {dtype} voxels in the shape {tuple(shape)}: choose .mha.") from error
    fields.set_sform(affine, code="scanner")
    fields.set_qform(affine, code="scanner")
    fields.set_xyzt_units("mm")
    fields.set_slope_inter(1, 0)
    fields["vox_offset"] = 352
    return bytes(fields.binaryblock) + bytes(4)


def metaimage_header(shape: Sequence[int], affine: np.ndarray, dtype: np.dtype) -> bytes:
    """MetaImage header (itk.org/Wiki/MetaIO), in LPS; its matrix holds one array axis after the other."""
    if dtype.name not in META_TYPES:
        raise InputError(f"cannot write {dtype} voxels as MetaImage: choose one of {', '.join(META_TYPES)}.")
    origin, spacing, direction = ras_to_lps(affine)
    axes = np.reshape(direction, (3, 3)).T.ravel()

    def text(numbers: Sequence[float] | np.ndarray) -> str:
        return " ".join(repr(float(n) + 0.0) for n in numbers)

    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": text(axes),
        "Offset": text(origin),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": text(spacing),
        "DimSize": " ".join(str(n) for n in shape),
        "ElementType": META_TYPES[dtype.name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("ascii")
