"""Measures as tables: a row for each mask and structure, and of areas a row for each slice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kseg.measures.area_profile import PERCENTS
from kseg.measures.mask_table import MaskTable
from kseg.measures.structures import Measures
from kseg.recipe.types import AXES
from kseg.volumes.geometry import ras_order
from kseg.volumes.stored_geometry import StoredGeometry

MEASURES_FILE = "measures.csv"
Z_AXIS = 2
"""To the head: along which a leg is scanned, and measured unless another axis is asked for."""
OF_A_MASK = ("case", "class_name", "mask", "axis")
AREAS = tuple(f"area_at_{percent}_percent_mm2" for percent in PERCENTS)
CENTROID = tuple(f"centroid_{axis}_ras_mm" for axis in AXES)
COLUMNS = (
    *OF_A_MASK,
    *("volume_ml", "length_mm", "principal_length_mm"),
    *("largest_area_mm2", "largest_area_at_mm", "largest_area_slice"),
    *AREAS,
    *("pieces", "largest_piece_percent"),
    *CENTROID,
    *("image_mean", "image_sd", "image_median"),
    "touches_border",
)
"""The mask is a path from the table's folder; slices are counted from 0 as in the file."""
PROFILE_COLUMNS = (*OF_A_MASK, "slice", "scan_mm", "at_mm", "area_mm2")
"""Of each slice: its middle in mm from the scan's beginning, and from the structure's."""
DIGITS = 7
"""Of numbers in tables: more than any mask knows."""


def measures_table(path: Path) -> MaskTable:
    """Return the table of measures at a path; `InputError` where something else is there."""
    return MaskTable(path, COLUMNS, "table of measures")


def profile_table(path: Path) -> MaskTable:
    """Return the table of areas by slice at a path; `InputError` where something else is there."""
    return MaskTable(path, PROFILE_COLUMNS, "table of areas")


def measures_rows(
    case: str, mask: str, axis: int, stored: StoredGeometry, measured: Mapping[str, Measures]
) -> list[dict[str, Any]]:
    """Return the rows of a mask, by `COLUMNS`; None for what there is not.

    Args:
        case: its name.
        mask: its path from the table's folder.
        axis: 0, 1 or 2, along which lengths and areas were measured.
        stored: the grid of its file. One that does not say where it lies has no centroid.
        measured: by structure.
    """
    rows = []
    for name, found in measured.items():
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {"case": case, "class_name": name, "mask": mask, "axis": AXES[axis]}
        row |= {"volume_ml": found.volume_ml, "pieces": found.pieces, "touches_border": found.touches_border}
        row["length_mm"] = found.profile.length_mm
        row["principal_length_mm"] = found.principal_length_mm
        if found.pieces:
            area_mm2, place_mm, index = found.profile.largest()
            row |= {"largest_area_mm2": area_mm2, "largest_area_at_mm": place_mm}
            row["largest_area_slice"] = slice_in_file(stored, axis, index)
            row |= {name: found.profile.area_at(percent) for name, percent in zip(AREAS, PERCENTS, strict=True)}
        if found.largest_piece_share is not None:
            row["largest_piece_percent"] = 100 * found.largest_piece_share
        if found.centroid_ras_mm is not None and stored.placed:
            row |= dict(zip(CENTROID, found.centroid_ras_mm.tolist(), strict=True))
        if found.intensity:
            mean, deviation, median = found.intensity.mean, found.intensity.deviation, found.intensity.median
            row |= {"image_mean": mean, "image_sd": deviation, "image_median": median}
        rows.append({column: _rounded(value) for column, value in row.items()})
    return rows


def profile_rows(
    case: str, mask: str, axis: int, stored: StoredGeometry, measured: Mapping[str, Measures]
) -> list[dict[str, Any]]:
    """Return the areas of a mask slice by slice, by `PROFILE_COLUMNS`; arguments are those of `measures_rows`."""
    rows = []
    for name, found in measured.items():
        profile = found.profile
        for number, (place_mm, area_mm2) in enumerate(zip(profile.places_mm, profile.areas_mm2, strict=True)):
            numbers = (profile.first * profile.slice_mm + place_mm, place_mm, area_mm2)
            index = slice_in_file(stored, axis, profile.first + number)
            row = (case, name, mask, AXES[axis], index, *(_rounded(float(number)) for number in numbers))
            rows.append(dict(zip(PROFILE_COLUMNS, row, strict=True)))
    return rows


def slice_in_file(stored: StoredGeometry, axis: int, index: int) -> int:
    """Return a slice's number in its file, from 0: files may run from head to feet, or from left to right."""
    order = ras_order(stored.affine)
    own = order[:, 0].tolist().index(axis)
    return index if order[own, 1] > 0 else stored.shape[own] - 1 - index


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
