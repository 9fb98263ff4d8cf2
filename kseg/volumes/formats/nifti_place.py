"""Where a NIfTI header says that its voxels lie: in its sform, its qform, and the sizes of its voxels.

nibabel and ITK read a header alike where its fields agree. Where they do not, nibabel takes the sform; ITK takes the
voxels' sizes from `pixdim` and often the place from the qform. Such a header is refused: whichever is chosen, a mask
would lie elsewhere in half of the viewers.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Header

from kseg.console.errors import InputError
from kseg.volumes.geometry import SAME_PLACE, corners_apart_mm, spacing_mm, told_apart

MM_PER_UNIT = {1: 1e3, 3: 1e-3}  # NIfTI-1: 1 metre, 2 mm, 3 micron, 0 unknown, which is taken as mm
SCANNER = 1  # the one code with which an sform comes before a qform in ITK as well
SHEARED = 1e-3  # cosine between axes of an sform from which on ITK takes the qform in spite of that code
KNOWN_CODES = range(6)
LONGER = 1e-5  # by which the square of a unit quaternion may exceed 1: its three numbers are rounded to six digits


@dataclass(frozen=True)
class Place:
    """`affine` and `placed` as in `Header`; `unstated` are the axes (0, 1, 2) without a voxel size."""

    affine: np.ndarray
    placed: bool
    unstated: tuple[int, ...] = ()


def place_of(raw: Nifti1Header, where: str) -> Place:
    """Return where the voxels of a header lie, as it stands in the file, before nibabel repairs it.

    The sform where its code is set and it is not all zeros, else the qform where its code is set. With neither the
    header only knows the spacing; nibabel then centres the grid and lets i run to the left, where SimpleITK has its
    origin at voxel 0 and j reversed. No choice could please both, hence `placed`. Metres and microns become mm, as in
    ITK (nibabel leaves them).

    Raises:
        InputError: its fields contradict each other; the message begins with `where`.
        ValueError: its quaternion is no rotation.
    """
    header = raw.copy()
    codes = int(header["sform_code"]), int(header["qform_code"])
    if not all(code in KNOWN_CODES for code in codes):
        raise InputError(f"{where} gives its sform and qform the codes {codes}: set codes from 0 to 5 in its header.")
    unit_mm = MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    to_mm, sizes = np.diag([unit_mm, unit_mm, unit_mm, 1.0]), header["pixdim"][1:4]
    unstated = tuple(axis for axis in range(3) if not (np.isfinite(sizes[axis]) and sizes[axis] > 0))
    if header["pixdim"][0] != -1:
        header["pixdim"][0] = 1  # 0 stands for 1
    for axis in unstated:
        header["pixdim"][axis + 1] = 1 / unit_mm
    sform = header.get_sform()
    if codes[0] and sform[:3, :3].any():
        if np.isfinite(sform).all():
            _check_agreement(raw, header, sform, where)
        return Place(to_mm @ sform, True)
    if codes[1]:
        return Place(to_mm @ _qform(header), True, unstated)
    return Place(to_mm @ header.get_base_affine(), False, unstated)


def _qform(header: Nifti1Header) -> np.ndarray:
    """The affine of the qform, of which nibabel refuses what was rounded to six digits."""
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    length = float(np.sqrt(vector @ vector))
    if 1 < length**2 <= 1 + LONGER:
        for axis, part in zip("bcd", vector / length, strict=True):
            header[f"quatern_{axis}"] = part
    return header.get_qform()


def _check_agreement(raw: Nifti1Header, repaired: Nifti1Header, sform: np.ndarray, where: str) -> None:
    """Raise `InputError` where nibabel and ITK would read a header with an sform in two ways."""
    lengths = spacing_mm(sform)
    if not all(lengths):
        return
    shape = (*raw.get_data_shape(), 1, 1, 1)[:3]
    tolerance, sizes = SAME_PLACE * min(lengths), np.array(raw["pixdim"][1:4], np.float64)
    with np.errstate(invalid="ignore"):
        apart = corners_apart_mm(shape, sform, sform @ np.diag([*(sizes / lengths), 1.0])).max()
    if not (apart <= tolerance and (sizes > 0).all()):
        first, second = (" x ".join(row) for row in told_apart(lengths, sizes.tolist()))
        raise InputError(
            f"{where} states two sizes of its voxels, {first} by its sform and {second} by its pixdim: readers "
            "differ in which they take, so make them alike in its header."
        )
    codes = int(raw["sform_code"]), int(raw["qform_code"])
    cosines = sform[:3, :3] / lengths
    as_in_itk = codes[0] == SCANNER and np.abs(cosines.T @ cosines - np.eye(3)).max() < SHEARED
    if codes[1] and not as_in_itk and corners_apart_mm(shape, sform, _qform(repaired)).max() > tolerance:
        raise InputError(
            f"{where} states two places, one by its sform (code {codes[0]}) and one by its qform (code {codes[1]}): "
            "readers differ in which they take, so make them alike in its header."
        )
