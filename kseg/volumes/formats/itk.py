"""MetaImage and NRRD through SimpleITK, and what every format that ITK reads has in common."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.metaimage import find_voxels
from kseg.volumes.formats.stored import Header, damaged, planes_of
from kseg.volumes.geometry import lps_to_ras

META_IMAGE = (".mha", ".mhd")


def open_itk(path: Path) -> Header:
    """Read the header of a MetaImage or NRRD file (ITK: 1 mm, 0 where it is silent).

    A MetaImage of three axes is read plane by plane, all else whole, at once.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with itk_errors(path):
        reader.ReadImageInformation()
        if path.suffix.lower() in META_IMAGE and (voxels := find_voxels(path)):
            affine = affine_of(reader)
            return Header(voxels.shape, voxels.dtype, affine, True, voxels.read)
        return header_in_memory(reader.Execute(), path)


def header_in_memory(image: sitk.Image, path: Path) -> Header:
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
    return Header(array.shape, array.dtype, affine_of(image), True, planes_of(array))


def affine_of(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """Return the affine to RAS mm of an image or of a header; a fourth axis, which is time or channels, has no part."""
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    return lps_to_ras(image.GetOrigin()[:3], image.GetSpacing()[:3], direction.ravel().tolist())


@contextmanager
def itk_errors(path: Path) -> Iterator[None]:
    """Turn ITK's error into an `InputError` with the line of it that names the cause; "No such file" misleads."""
    try:
        yield
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
        essence = re.sub(r"^(\[\w+\] \w+: |(ITK ERROR|\w+::ERROR): (\w+\(0x[0-9a-f]+\): )?)", "", lines[-1])
        raise damaged(path, essence.rstrip(". ")) from error
