"""A DICOM series in a folder, slice by slice."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.itk import affine_of, header_in_memory, itk_errors, quiet_itk
from kseg.volumes.formats.stored import Header, Read, damaged
from kseg.volumes.geometry import LPS_FROM_RAS

SLICE_TOLERANCE = 0.05  # of the distance between slices: DICOM rounds positions to decimal digits


def open_dicom(folder: Path) -> Header:
    """Find the one DICOM series in a folder; its voxels are rescaled to its units (HU in CT).

    `InputError` for no series or several, a file that cannot be parsed, and slices that are missing, unevenly
    placed or sheared by a tilted gantry, for which the one affine of a grid cannot stand. A series in one file of
    many frames is read whole, at once.
    """
    files = _files_of(folder)
    with quiet_itk(), itk_errors(folder):
        if len(files) == 1:
            return header_in_memory(sitk.ReadImage(files), folder)
        first, ends = sitk.ReadImage(files[:1]), sitk.ReadImage([files[0], files[-1]])
        affine = affine_of(ends)  # ITK's distance between slices is a mean over the series, and here there are two
        affine[:3, 2] /= len(files) - 1
        _check_slices(folder, affine, np.array([_slice_position(file) for file in files]))
    one = header_in_memory(first, folder)
    i, j, _, *channels = one.shape
    return Header((i, j, len(files), *channels), one.dtype, affine, True, _reader(folder, files, one))


def _reader(folder: Path, files: list[str], like: Header) -> Read:
    def read(counts: Iterable[int]) -> Iterator[np.ndarray]:
        rest = list(files)
        for count in counts:
            with quiet_itk(), itk_errors(folder):
                group = header_in_memory(sitk.ReadImage(rest[:count]), folder)
            i, j, _, *channels = like.shape
            if group.shape != (i, j, count, *channels):
                raise damaged(folder, f"slices of the shapes {like.shape[:2]} and {group.shape[:2]} are in one series")
            yield next(group.read([count])).astype(like.dtype, copy=False)  # a series has its first slice's type
            del rest[:count]

    return read


def _files_of(folder: Path) -> list[str]:
    with quiet_itk():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if len(series) != 1:
            found = f"{len(series)} ({', '.join(series)})" if series else "none"
            raise InputError(f"'{folder}' must hold one DICOM series: received {found}; give each its own folder.")
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    if dropped := {file for file in folder.iterdir() if _is_dicom(file)} - {Path(file) for file in files}:
        raise damaged(min(dropped), "no image of the series is found in it")
    return list(files)


def _is_dicom(file: Path) -> bool:
    if not file.is_file() or file.name == "DICOMDIR":  # a medium's table of contents
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _slice_position(file: str) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return LPS_FROM_RAS[:3, :3] @ reader.GetOrigin()[:3]


def _check_slices(folder: Path, affine: np.ndarray, positions_mm: np.ndarray) -> None:
    """`InputError` unless the slices, (slices, 3) in RAS mm, lie where the affine puts them."""
    expected_mm = affine[:3, 3] + np.arange(len(positions_mm))[:, None] * affine[:3, 2]
    off_mm = np.linalg.norm(positions_mm - expected_mm, axis=1).max()
    if off_mm > SLICE_TOLERANCE * np.linalg.norm(affine[:3, 2]):
        raise InputError(
            f"the {len(positions_mm)} slices of the series in '{folder}' must be evenly spaced along their "
            f"normal: received one {off_mm:.4g} mm off; add what is missing, or resample a tilted series."
        )
