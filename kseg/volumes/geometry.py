"""Voxel grids in space: affines, voxel order, ITK's convention, and whether two grids are one.

An affine is 4x4, float64, and maps voxel indices to RAS mm (nibabel's and NIfTI's convention: x to the right,
y to the front, z to the head). Reordering permutes and flips axes and never resamples.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Protocol

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from kseg.console.errors import InputError
from kseg.volumes.stored_geometry import StoredGeometry

SAME_PLACE = 0.05
"""Share of the smallest voxel edge within which voxels lie at one place.

Programs round headers to six digits, NIfTI's quaternions are float32, DICOM's positions decimal: some per cent of a
voxel at the far corner. An annotator's outline is not that exact, and no voxel gets another neighbour by it.
"""
UNITS = (10, 100, 1000, 10**4, 10**6)
"""Between mm, cm, m, micrometres and tenths of a millimetre."""
RAS_ORDER = np.array([[0, 1], [1, 1], [2, 1]])
RESAMPLE = "resample one onto the other's grid"
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse


Box = tuple[slice, slice, slice]
"""Voxels x, y, z of a volume that lie side by side."""


class VoxelGrid(Protocol):
    """What has a shape (x, y, z) and an affine: a volume, or the stream of one."""

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    @property
    def affine(self) -> np.ndarray: ...  # noqa: D102


def spacing_mm(affine: np.ndarray) -> tuple[float, float, float]:
    """Distance in mm between neighbouring voxels along the three axes: the lengths of the columns."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return x, y, z


def check_affine(affine: np.ndarray, where: str) -> np.ndarray:
    """The affine as float64; `InputError`, which begins with `where`, if not finite or not invertible."""
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"{where} must have a finite 4x4 affine: received {affine.tolist()}; fix its header.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4:
        raise InputError(f"{where} must have an affine whose axes span space: received {affine.tolist()}; fix it.")
    return affine


def ras_order(affine: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """For each stored axis i, j, k the axis of RAS that it lies closest to, and 1 or -1 for its direction; (3, 2).

    `like` is an affine whose axes stand for those of RAS: that of an image, which the labels must follow where an axis
    lies halfway between two of RAS and the last digits of a header would decide.
    """
    return io_orientation(affine if like is None else np.linalg.inv(_unit_axes(like)) @ affine)


def _unit_axes(affine: np.ndarray) -> np.ndarray:
    axes = np.eye(4)
    axes[:3, :3] = affine[:3, :3] / spacing_mm(affine)
    return axes


def to_ras(array: np.ndarray, affine: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Bring the three leading axes into the order and direction closest to RAS+ (see `ras_order`).

    `array` is (i, j, k) or (i, j, k, channels); the result is a view of it, (x, y, z) or (x, y, z, channels).
    """
    return apply_orientation(array, ras_order(affine, like))


def ras_affine(affine: np.ndarray, shape: Sequence[int], like: np.ndarray | None = None) -> np.ndarray:
    """The affine that fits what `to_ras` makes of an array of `shape` (i, j, k)."""
    return affine @ inv_ornt_aff(ras_order(affine, like), shape)


def ras_grid(stored: StoredGeometry, like: np.ndarray | None = None) -> tuple[tuple[int, int, int], np.ndarray]:
    """The shape (x, y, z) and the affine that the voxels of a file have in RAS+ order (see `ras_order`)."""
    x, y, z = (stored.shape[i] for i in np.argsort(ras_order(stored.affine, like)[:, 0]))
    return (x, y, z), ras_affine(stored.affine, stored.shape, like)


def from_ras(array: np.ndarray, stored: StoredGeometry) -> np.ndarray:
    """Inverse of `to_ras`: (x, y, z) or (x, y, z, channels) in the file's own order (i, j, k)."""
    return apply_orientation(array, ornt_transform(RAS_ORDER, ras_order(stored.affine)))


def lps_to_ras(origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]) -> np.ndarray:
    """Affine for ITK's three: origin and spacing in mm, direction row by row, all in LPS (DICOM's axes)."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_FROM_RAS @ affine


def ras_to_lps(affine: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """Inverse of `lps_to_ras`: ITK's origin, spacing and direction (nine numbers, row by row)."""
    lps = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return lps[:3, 3].tolist(), spacing.tolist(), (lps[:3, :3] / spacing).ravel().tolist()


def corners_mm(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """RAS mm of the centres of the eight corner voxels, (8, 3)."""
    corners = np.array(list(product(*((0, length - 1) for length in shape))))
    return corners @ affine[:3, :3].T + affine[:3, 3]


def grid_difference(grid: VoxelGrid, reference: VoxelGrid, name: str) -> str | None:
    """What sets a volume's grid apart from that of `reference`, called `name`, and the remedy; None where they are one.

    Grids are one if their shapes are equal and their corner voxels lie within `SAME_PLACE` of each other.
    """
    if grid.shape != reference.shape:
        return f"has the shape {grid.shape}, {name} {reference.shape}: {RESAMPLE}"
    apart_mm = corners_apart_mm(grid.shape, grid.affine, reference.affine)
    ours, theirs = spacing_mm(grid.affine), spacing_mm(reference.affine)
    smallest_mm = min(*ours, *theirs)
    if apart_mm.max() <= SAME_PLACE * smallest_mm:
        return None
    first, second = (" x ".join(row) for row in told_apart(ours, theirs))
    sizes = f"has voxels of {first} mm, {name} of {second} mm"
    if factor := _lost_unit(ours, theirs):
        return f"{sizes}, a factor of {factor}: one header lacks its unit or names a wrong one, set it there"
    corner = int(np.argmax(apart_mm))
    voxel = tuple(corners_mm(grid.shape, np.eye(4))[corner].astype(int).tolist())
    places = (corners_mm(grid.shape, affine)[corner].tolist() for affine in (grid.affine, reference.affine))
    here, there = (", ".join(row) for row in told_apart(*places))
    differing = np.abs(np.subtract(ours, theirs)).max() * max(grid.shape) > SAME_PLACE * smallest_mm
    return (
        f"{f'{sizes}, and ' if differing else ''}lies up to {apart_mm.max():.4g} mm from {name} (voxel {voxel} at "
        f"({here}) RAS mm, there at ({there})): {RESAMPLE}"
    )


def corners_apart_mm(shape: Sequence[int], affine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance in mm between the places that two affines give to each of the eight corner voxels."""
    return np.linalg.norm(corners_mm(shape, affine) - corners_mm(shape, other), axis=1)


def told_apart(numbers: Sequence[float], others: Sequence[float]) -> tuple[list[str], list[str]]:
    """Two rows of numbers as text, each number with as many digits as tell it from its counterpart, four at least."""
    pairs = [_digits(number, other) for number, other in zip(numbers, others, strict=True)]
    return [first for first, _ in pairs], [second for _, second in pairs]


def _digits(number: float, other: float) -> tuple[str, str]:
    texts = [(f"{number:.{digits}g}", f"{other:.{digits}g}") for digits in range(4, 18)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[0])


def _lost_unit(ours: Sequence[float], theirs: Sequence[float]) -> int | None:
    """The factor between two units of length, where spacings differ by one along every axis."""
    ratios = np.divide(ours, theirs)
    return next((unit for unit in UNITS if any(np.allclose(r, unit, rtol=1e-3) for r in (ratios, 1 / ratios))), None)


def box_around(boxes: Iterable[tuple[slice, ...] | None]) -> tuple[slice, ...]:
    """Return the smallest box (three slices) around those given, None being an empty one."""
    present = [box for box in boxes if box is not None]
    if not present:
        return (slice(0, 0),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*present, strict=True))


def other_axes(axis: int) -> tuple[int, ...]:
    """Return the two axes along which a plane across `axis` lies."""
    return tuple(other for other in range(3) if other != axis)
