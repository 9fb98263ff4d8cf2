"""MetaImage and NRRD through SimpleITK: the place of both, and the voxels of NRRD."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.extensions import META_IMAGE
from kseg.volumes.formats.header import Header, damaged_file, reader_of, spacing_along
from kseg.volumes.formats.metaimage import voxels_of
from kseg.volumes.formats.metaimage_header import MetaHeader, read_meta_header
from kseg.volumes.formats.nrrd_header import NrrdHeader, read_nrrd_header
from kseg.volumes.geometry import lps_to_ras

NEARLY_ONE = 0.01  # by which rounded cosines may be longer or shorter than 1


def open_itk(path: Path) -> Header:
    """Read the header of a MetaImage or NRRD file (ITK: at the origin, without a turn, where it is silent).

    The voxels of a MetaImage are read here, plane by plane where they have three axes; an NRRD whole, by ITK.
    """
    return _open_meta(read_meta_header(path)) if path.suffix.lower() in META_IMAGE else _open_nrrd(path)


def _open_meta(stated: MetaHeader) -> Header:
    stated.check()
    shape, dtype, read = voxels_of(stated)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(stated.path))
    with _itk_errors(stated.path):
        reader.ReadImageInformation()
    header = Header(shape, dtype, _meta_affine(reader, stated), True, read)
    return _with_unstated(header, stated.unstated_axes())


def _open_nrrd(path: Path) -> Header:
    stated = read_nrrd_header(path)
    stated.check_space()
    stated.check_voxels()
    with _readable(stated) as file, _itk_errors(path):
        header = _in_memory(sitk.ReadImage(str(file)), path)
    return _with_unstated(header, stated.unstated_axes())


def _with_unstated(header: Header, axes: tuple[int, ...]) -> Header:
    return replace(header, unstated=spacing_along(axes), unstated_axes=axes) if axes else header


def _meta_affine(reader: sitk.ImageFileReader, stated: MetaHeader) -> np.ndarray:
    """The affine, with 1 mm where the spacing is not stated, whatever ITK makes of that.

    `InputError` where directions are no unit vectors, by which positions and spacing differ in ITK.
    """
    axes = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (axes, axes))[:3, :3]
    lengths = np.linalg.norm(direction, axis=0)
    if abs(lengths - 1).max() > NEARLY_ONE:
        shown = ", ".join(f"{length:.4g}" for length in lengths)
        raise InputError(
            f"'{stated.path}' must have axes (TransformMatrix) of length 1: received {shown}; fix its header."
        )
    spacing = [length or 1.0 for length in stated.spacing_mm()]
    return lps_to_ras(reader.GetOrigin()[:3], spacing, direction.ravel().tolist())


@contextmanager
def _readable(stated: NrrdHeader) -> Iterator[Path]:
    """A path by which ITK can read a file: its own, or a header that names the voxels in a way ITK does not misread."""
    if not stated.is_misread or stated.literal is None:
        yield stated.path
        return
    with TemporaryDirectory(prefix="kseg-") as folder:
        header = Path(folder) / f"header{stated.path.suffix.lower()}"
        (Path(folder) / "voxels").symlink_to(stated.literal.resolve())
        name = re.escape(os.fsencode(stated.literal.name))
        field = rb"(?im)^(data ?file:[ \t]*).*?"
        header.write_bytes(re.sub(field + name, rb"\1voxels", stated.path.read_bytes(), count=1))
        yield header


def _in_memory(image: sitk.Image, path: Path) -> Header:
    """Return the header of an image that ITK has read whole.

    Raises:
        InputError: it has fewer than three axes.
    """
    if image.GetDimension() < 3:
        raise InputError(f"'{path}' must hold a volume of three axes: received {image.GetSize()}.")
    array = sitk.GetArrayFromImage(image).T
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(*array.shape[:3], *(length for length in array.shape[3:] if length != 1))
    return Header(array.shape, array.dtype, _affine_of(image), True, reader_of(array))


def _affine_of(image: sitk.Image) -> np.ndarray:
    """Return the affine to RAS mm of an image; a fourth axis, which is time or channels, has no part."""
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    return lps_to_ras(image.GetOrigin()[:3], image.GetSpacing()[:3], direction.ravel().tolist())


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's error into an `InputError` with the line of it that names the cause; "No such file" misleads."""
    try:
        yield
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
        essence = re.sub(r"^(\[\w+\] \w+: |(ITK ERROR|\w+::ERROR): (\w+\(0x[0-9a-f]+\): )?)", "", lines[-1])
        raise damaged_file(path, essence.rstrip(". ")) from error
