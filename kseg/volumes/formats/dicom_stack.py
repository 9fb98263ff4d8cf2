"""Planes of a DICOM series or file put in order: one grid, or the reason why there is none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.volumeutils import shape_zoom_affine
from pydicom.datadict import dictionary_description

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom_planes import Plane
from kseg.volumes.formats.dicom_values import read_values
from kseg.volumes.geometry import LPS_FROM_RAS

SLICE_TOLERANCE = 0.05  # of the distance between slices: DICOM rounds positions to decimal digits
SAME = 1e-4  # in directions (as cosines) and spacings (as a share): 0.05 voxels at the far side of 512 pixels
CLOSE_MM = 1e-3  # positions closer than this are one


@dataclass(frozen=True)
class Stack:
    """Planes in the order of k, and their grid: as `kseg.volumes.formats.stored.Header` says."""

    planes: tuple[Plane, ...]
    affine: np.ndarray
    placed: bool
    unstated: str


def stack_of(planes: Sequence[Plane], where: str, noun: str) -> Stack:
    """Return the grid of planes that lie one above the other; `where` ("the series in 'leg'") and `noun` name them.

    A plane that repeats another, place and values alike, is dropped.

    Raises:
        InputError: sizes, directions or pixel spacings differ; planes are missing, uneven, sheared by a tilted gantry,
            or at one place with other values; or only some say where they lie.
    """
    sizes = {plane.pixels.shape[::-1]: plane.pixels.path.name for plane in reversed(planes)}
    if len(sizes) > 1:
        found = " and ".join(f"{columns} x {rows} pixels ('{name}')" for (columns, rows), name in sizes.items())
        raise InputError(f"{where} must have {noun}s of one size: received {found}; keep those of one volume.")
    _check_alike(where, noun, "pixel spacing", [plane.spacing_mm for plane in planes], SAME * _scale(planes))
    _check_alike(where, noun, "orientation", [plane.axes for plane in planes], SAME)
    stated = [plane.position is not None for plane in planes]
    if any(stated) and not all(stated):
        raise InputError(f"{where} has {stated.count(False)} of {len(stated)} {noun}s without a position: remove them.")
    if not all(stated):
        return _unplaced(planes, where, noun)
    if planes[0].axes is None:
        raise InputError(f"{where} states positions, but no orientation of its {noun}s: export it anew.")
    return _placed(planes, where, noun)


def _scale(planes: Sequence[Plane]) -> float:
    spacing_mm = planes[0].spacing_mm
    return 1.0 if spacing_mm is None else float(spacing_mm.min())


def _check_alike(where: str, noun: str, what: str, values: Sequence[np.ndarray | None], tolerance: float) -> None:
    first = values[0]
    for other in values:
        if (first is None) != (other is None) or (
            first is not None and other is not None and np.abs(first - other).max() > tolerance
        ):
            numbers = [None if value is None else np.round(value, 6).tolist() for value in (first, other)]
            raise InputError(
                f"{where} must have {noun}s of one {what}: received {numbers[0]} and {numbers[1]}; "
                "keep those of one volume."
            )


def _unplaced(planes: Sequence[Plane], where: str, noun: str) -> Stack:
    """Grid of planes that do not say where they lie: as NIfTI's without a position; their order is that of numbers."""
    files = {id(plane.pixels) for plane in planes}
    if len(files) > 1:
        numbers = [plane.number for plane in planes]
        if len(files) < len(planes) or None in numbers or len(set(numbers)) < len(numbers):
            raise InputError(
                f"{where} cannot be put in order: its {noun}s have neither positions nor instance numbers "
                "that differ; export it anew."
            )
        planes = sorted(planes, key=lambda plane: plane.number or 0)
    rows, columns = planes[0].pixels.shape
    distance_mm, unstated = _distance(planes, noun)
    spacing_mm = (1.0, 1.0) if planes[0].spacing_mm is None else planes[0].spacing_mm
    affine = shape_zoom_affine((columns, rows, len(planes)), (*spacing_mm, distance_mm))
    return Stack(tuple(planes), affine, False, unstated)


def _distance(planes: Sequence[Plane], noun: str, stated_mm: float | None = None) -> tuple[float, str]:
    """Distance between planes in mm, by their tags where positions do not give it, and what is left unstated."""
    if stated_mm is None:
        distances = [plane.distance_mm for plane in planes]
        if len(planes) == 1 and distances[0] is None:
            distances = [planes[0].thickness_mm]  # how far a lone one reaches
        alike = None not in distances and np.ptp(np.abs(np.array(distances, np.float64))) <= CLOSE_MM
        stated_mm = abs(distances[0]) if alike and distances[0] else None
    missing = ["the size of its pixels"] if planes[0].spacing_mm is None else []
    if stated_mm is None:
        missing.append(f"the thickness of its {noun}" if len(planes) == 1 else f"the distance between its {noun}s")
    return 1.0 if stated_mm is None else stated_mm, " and ".join(missing)


def _placed(planes: Sequence[Plane], where: str, noun: str) -> Stack:
    axes = planes[0].axes
    assert axes is not None
    normal = np.cross(*axes)
    along = np.array([plane.position for plane in planes]) @ normal
    order = np.argsort(along, kind="stable")
    planes, along = _once([planes[index] for index in order], along[order], where, noun)
    positions = np.array([plane.position for plane in planes])
    step_mm = None
    if len(planes) > 1:
        step_mm = (along[-1] - along[0]) / (len(planes) - 1)
        _check_even(planes, along, where, noun)
        _check_straight(positions, normal, step_mm, where, noun)
        _check_number(planes, where)
    distance_mm, unstated = _distance(planes, noun, step_mm)
    spacing_mm = np.ones(2) if planes[0].spacing_mm is None else planes[0].spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*(axes * spacing_mm[:, None]), normal * distance_mm])
    affine[:3, 3] = positions[0]
    return Stack(tuple(planes), LPS_FROM_RAS @ affine, True, unstated)


def _once(planes: list[Plane], along: np.ndarray, where: str, noun: str) -> tuple[list[Plane], np.ndarray]:
    """Drop planes that repeat their neighbour; `InputError` for one at its place with other values."""
    steps = np.diff(along)
    apart = steps[steps > CLOSE_MM]
    close_mm = max(CLOSE_MM, SLICE_TOLERANCE * float(np.median(apart))) if len(apart) else CLOSE_MM
    kept = [0]
    for index in range(1, len(planes)):
        if along[index] - along[kept[-1]] > close_mm:
            kept.append(index)
        elif not _repeats(planes[index], planes[kept[-1]]):
            raise InputError(
                f"{where} holds more than one volume: two {noun}s lie at {along[index]:.4g} mm along their normal"
                f"{_difference(planes[kept[-1]], planes[index])}; give each volume its own folder."
            )
    return [planes[index] for index in kept], along[kept]


def _repeats(one: Plane, other: Plane) -> bool:
    assert one.position is not None and other.position is not None
    if np.abs(one.position - other.position).max() > CLOSE_MM:
        return False
    double = np.dtype(np.float64)
    first, second = (read_values([(plane.pixels, plane.frame, plane.rescale)], double) for plane in (one, other))
    return np.array_equal(first, second)


def _difference(one: Plane, other: Plane) -> str:
    """What tells two planes at one place apart, in words, if tags say it."""
    for name, value in one.traits.items():
        if name in other.traits and other.traits[name] != value:
            title = dictionary_description(name) if name else "an index"
            return f" and differ in {title} ({_text(value)}, {_text(other.traits[name])})"
    return f" (numbers {one.number} and {other.number})"


def _text(value: object) -> str:
    return re.sub(r"[\[\]']", "", str(value))


def _check_even(planes: Sequence[Plane], along: np.ndarray, where: str, noun: str) -> None:
    even = np.linspace(along[0], along[-1], len(along))
    steps = np.diff(along)
    step_mm = float(np.median(steps))
    if np.abs(along - even).max() <= SLICE_TOLERANCE * (even[1] - even[0]):
        return
    lost = np.round(steps / step_mm).astype(int) - 1
    if lost.max() >= 1 and np.abs(steps - (lost + 1) * step_mm).max() <= 2 * SLICE_TOLERANCE * step_mm:
        gaps = [
            f"between {along[k]:.6g} and {along[k + 1]:.6g} mm (numbers {planes[k].number}, {planes[k + 1].number})"
            for k in np.flatnonzero(lost).tolist()
        ]
        more = f", and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
        raise InputError(
            f"{where} lacks {lost.sum()} {noun}{'s' if lost.sum() > 1 else ''}, for its {len(planes)} {noun}s are not "
            f"evenly spaced: {', '.join(gaps[:3])}{more}; add what is missing."
        )
    raise InputError(
        f"the {len(planes)} {noun}s of {where} must be evenly spaced along their normal: received distances of "
        f"{steps.min():.4g} to {steps.max():.4g} mm; resample it, or add what is missing."
    )


def _check_straight(positions: np.ndarray, normal: np.ndarray, step_mm: float, where: str, noun: str) -> None:
    across = positions - positions[0]
    across = across - np.outer(across @ normal, normal)
    off_mm = np.linalg.norm(across, axis=1).max()
    if off_mm > SLICE_TOLERANCE * step_mm:
        raise InputError(
            f"the {noun}s of {where} must lie straight above each other: received one that lies {off_mm:.4g} mm "
            "to the side, as of a tilted gantry; resample a tilted series."
        )


def _check_number(planes: Sequence[Plane], where: str) -> None:
    """`InputError` where slices at an end are missing, which positions do not show: PET says how many a volume has."""
    stated = planes[0].in_volume
    if stated is not None and len(planes) < stated:
        raise InputError(f"{where} has {len(planes)} of the {stated} slices that it says: add what is missing.")
