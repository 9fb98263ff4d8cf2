"""What SimpleITK and nibabel read, and whether two readings are one: the same values at the same places in space."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from drawn import LPS, Written, placed, positions_mm

FLOAT32 = float(np.finfo(np.float32).eps)
MM_PER_UNIT = {"meter": 1e3, "micron": 1e-3}


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels, scaled, and affine; in the header's unit, which nibabel leaves to its user."""
    image = nib.load(path)
    mm = MM_PER_UNIT.get(image.header.get_xyzt_units()[0], 1.0)
    array = np.asanyarray(image.dataobj)
    shape = (*array.shape[:3], *(length for length in array.shape[3:] if length != 1))
    return array.reshape(shape, order="F"), np.diag([mm, mm, mm, 1.0]) @ image.affine


def by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels, and affine to RAS; for a folder the DICOM series in it."""
    if path.is_dir():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0]))
    else:
        image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).T
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, 0, -1)
    axes = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    shape = (*array.shape[:3], *(length for length in array.shape[3:] if length != 1))
    return array.reshape(shape), LPS @ placed(direction * image.GetSpacing()[:3], image.GetOrigin()[:3])


def in_order_of(written: Written, array: np.ndarray, affine: np.ndarray, reader: str, slack_mm: float) -> np.ndarray:
    """Bring what a reader has into the voxel order of the file, by the places of its voxels alone.

    Fails where a voxel does not lie within a thousandth of the shortest edge, and `slack_mm`, of one of the file's.
    """
    where = positions_mm(written.values.shape, written.affine)
    found = (where - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    index = found.round().astype(int)
    off_mm = np.abs(index @ affine[:3, :3].T + affine[:3, 3] - where).max()
    allowed_mm = 1e-3 * written.edge_mm + written.slack_mm + slack_mm + 1e-12 * np.abs(where).max()
    assert off_mm <= allowed_mm, (
        f"{reader} has voxels {off_mm:.6g} mm off, where {allowed_mm:.3g} is allowed:\n{affine}"
    )
    assert index.min() >= 0, f"{reader} has other places"
    assert (index.reshape(-1, 3).max(0) + 1 == array.shape[:3]).all(), f"{reader} has the shape {array.shape}"
    return array[tuple(np.moveaxis(index, -1, 0))]


def float32_mm(written: Written) -> float:
    """How far float32 numbers in a header, or in a library, may move a voxel."""
    return 16 * FLOAT32 * float(np.abs(positions_mm(written.values.shape, written.affine)).max())


def assert_values(found: np.ndarray, written: Written, reader: str, kind: np.dtype | None = None) -> None:
    """The same values, as far as the type goes in which they are read."""
    assert found.shape == written.values.shape, f"{reader} has the shape {found.shape}"
    wanted = written.values.astype(kind or found.dtype)
    ours = found.astype(wanted.dtype)
    if written.grain:
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=written.grain, err_msg=reader)
    else:
        np.testing.assert_array_equal(ours, wanted, err_msg=reader)


def assert_witnesses_agree(written: Written, must: bool) -> None:
    """The libraries that read this file rightly have what the file means; the test's own check.

    A library that refuses what is doubtful is no witness: only where `must` it has to read the file.
    """
    for name in written.witnesses:
        read = by_nibabel if name == "nib" else by_itk
        try:
            array, affine = read(written.path)
        except Exception as error:  # whatever a library raises
            assert not must, f"{name} refuses what kseg owes: {error}"
            continue
        slack_mm = 9e-3 * written.edge_mm + float32_mm(written)
        assert_values(in_order_of(written, array, affine, name, slack_mm), written, name)
