"""Planes of a DICOM series or file put in order: one grid, or the reason why there is none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.volumeutils import shape_zoom_affine
from pydicom.datadict import dictionary_description

from kseg.console.errors import InputError
from kseg.console.text import counted, some_of
from kseg.volumes.formats.dicom_errors import in_a_line
from kseg.volumes.formats.dicom_planes import Plane
from kseg.volumes.formats.dicom_values import read_values
from kseg.volumes.geometry import LPS_FROM_RAS

SLICE_TOLERANCE = 0.05  # of the distance between slices: DICOM rounds positions to decimal digits
SAME = 1e-4  # in directions (as cosines) and spacings (as a share): 0.05 voxels at the far side of 512 pixels
CLOSE_MM = 1e-3  # positions closer than this are one
MAX_GAPS = 3  # in a message


@dataclass(frozen=True)
class Stack:
    """Planes in the order of k, and their grid: as `kseg.volumes.formats.header.Header` says."""

    planes: tuple[Plane, ...]
    affine: np.ndarray
    placed: bool
    unstated: str
    unstated_axes: tuple[int, ...]


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
    if len(shown := {str(plane.pixels.options["photometric_interpretation"]) for plane in planes}) > 1:
        raise InputError(
            f"{where} must have {noun}s shown alike: received {' and '.join(sorted(shown))}; keep one kind."
        )
    _check_alike(where, noun, "pixel spacing", [plane.spacing_mm for plane in planes], SAME * _scale(planes))
    _check_alike(where, noun, "orientation", [plane.axes for plane in planes], SAME)
    stated = [plane.position is not None for plane in planes]
    if any(stated) and not all(stated):
        raise InputError(f"{where} has {stated.count(False)} of {len(stated)} {noun}s without a position: remove them.")
    if not all(stated):
        return _unplaced(planes, where, noun)
    axes = planes[0].axes
    if axes is None:
        raise InputError(f"{where} states positions, but no orientation of its {noun}s: export it anew.")
    return _placed(planes, axes, where, noun)


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
        steps = np.diff([plane.number or 0 for plane in planes])
        if steps.min() < steps.max():  # without positions they are all that tells of a gap
            at = int(steps.argmax())
            raise InputError(
                f"{where} may lack {noun}s: it states no positions, and its instance numbers jump from "
                f"{planes[at].number} to {planes[at + 1].number}; add what is missing, or export it anew."
            )
    rows, columns = planes[0].pixels.shape
    spacing_mm, unstated, unstated_axes = _spacing(planes, noun, _stated_distance(planes))
    affine = shape_zoom_affine((columns, rows, len(planes)), spacing_mm)
    return Stack(tuple(planes), affine, False, unstated, unstated_axes)


def _stated_distance(planes: Sequence[Plane]) -> float | None:
    """Distance between planes in mm by their tags, if all state one; a lone plane reaches as far as it is thick."""
    distances = [plane.distance_mm for plane in planes]
    if len(planes) == 1 and distances[0] is None:
        distances = [planes[0].thickness_mm]
    if None in distances or np.ptp(np.abs(np.array(distances, np.float64))) > CLOSE_MM:
        return None
    return None if distances[0] is None else abs(distances[0])


def _spacing(planes: Sequence[Plane], noun: str, distance_mm: float | None) -> tuple[np.ndarray, str, tuple[int, ...]]:
    """Spacing in mm along i, j, k, what of it is unstated, in words, and along which axes it is."""
    spacing_mm, missing, axes = np.ones(3), [], []
    if planes[0].spacing_mm is None:
        missing.append("the size of its pixels")
        axes += [0, 1]
    else:
        spacing_mm[:2] = planes[0].spacing_mm
    if distance_mm is None:
        missing.append(f"the thickness of its {noun}" if len(planes) == 1 else f"the distance between its {noun}s")
        axes.append(2)
    else:
        spacing_mm[2] = distance_mm
    return spacing_mm, " and ".join(missing), tuple(axes)


def _placed(planes: Sequence[Plane], axes: np.ndarray, where: str, noun: str) -> Stack:
    """Grid of planes by their positions, which give their order and the distance between them."""
    normal = np.cross(*axes)
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ normal, kind="stable")
    planes, positions = [planes[index] for index in order], positions[order]
    once = _once(planes, positions, normal, where, noun)
    planes, positions = [planes[index] for index in once], positions[once]
    distance_mm = _stated_distance(planes) if len(planes) == 1 else _check_even(planes, positions @ normal, where, noun)
    if distance_mm is not None:
        _check_straight(positions, normal, distance_mm, where, noun)
    _check_number(planes, where)
    spacing_mm, unstated, unstated_axes = _spacing(planes, noun, distance_mm)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*axes, normal]) * spacing_mm
    affine[:3, 3] = positions[0]
    return Stack(tuple(planes), LPS_FROM_RAS @ affine, True, unstated, unstated_axes)


def _once(planes: list[Plane], positions: np.ndarray, normal: np.ndarray, where: str, noun: str) -> list[int]:
    """Which planes to keep: none that repeats its neighbour; `InputError` for one at its place with other values."""
    along = positions @ normal
    steps = np.diff(along)
    apart = steps[steps > CLOSE_MM]
    close_mm = max(CLOSE_MM, SLICE_TOLERANCE * float(np.median(apart))) if len(apart) else CLOSE_MM
    kept = [0]
    for index in range(1, len(planes)):
        last = kept[-1]
        if along[index] - along[last] > close_mm:
            kept.append(index)
            continue
        at_one_place = np.abs(positions[index] - positions[last]).max() <= CLOSE_MM
        if not (at_one_place and np.array_equal(_values(planes[index]), _values(planes[last]))):
            raise InputError(
                f"{where} holds more than one volume: two {noun}s lie at {along[index]:.4g} mm along their normal"
                f"{_difference(planes[last], planes[index])}; give each volume its own folder."
            )
    return kept


def _values(plane: Plane) -> np.ndarray:
    return read_values([(plane.pixels, plane.frame, plane.rescale)], np.dtype(np.float64))


def _difference(one: Plane, other: Plane) -> str:
    """What tells two planes at one place apart, in words, if tags say it."""
    for name, value in one.traits.items():
        if name in other.traits and other.traits[name] != value:
            title = dictionary_description(name) if name else "an index"
            return f" and differ in {title} ({_text(value)}, {_text(other.traits[name])})"
    if one.number is not None and one.number != other.number:
        return f" (numbers {one.number} and {other.number})"
    return f" ('{one.pixels.path.name}' and '{other.pixels.path.name}')"


def _text(value: object) -> str:
    return re.sub(r"[\[\]']", "", in_a_line(value))


def _check_even(planes: Sequence[Plane], along: np.ndarray, where: str, noun: str) -> float:
    """Return the distance between planes in mm, by their places along the normal, which must be even."""
    even = np.linspace(along[0], along[-1], len(along))
    distance_mm = float(even[1] - even[0])
    if np.abs(along - even).max() <= SLICE_TOLERANCE * distance_mm:
        return distance_mm
    steps = np.diff(along)
    step_mm = float(np.median(steps))
    lost = np.round(steps / step_mm).astype(int) - 1
    if lost.max() >= 1 and np.abs(steps - (lost + 1) * step_mm).max() <= 2 * SLICE_TOLERANCE * step_mm:
        gaps = [
            f"between {along[k]:.6g} and {along[k + 1]:.6g} mm (numbers {planes[k].number}, {planes[k + 1].number})"
            for k in np.flatnonzero(lost).tolist()
        ]
        raise InputError(
            f"{where} lacks {counted(lost.sum(), noun)}, for its {len(planes)} {noun}s are not evenly spaced: "
            f"{some_of(gaps, MAX_GAPS)}; add what is missing."
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
