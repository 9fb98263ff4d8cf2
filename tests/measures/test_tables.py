"""Tables of measures: hand-worked rows, numbers of slices as files have them, and files that pandas and Excel read."""

import csv
from pathlib import Path

import numpy as np
import pandas
import pytest

from kseg.console.errors import InputError
from kseg.measures.structures import measure_structures
from kseg.measures.tables import (
    COLUMNS,
    PROFILE_COLUMNS,
    measures_rows,
    measures_table,
    profile_rows,
    profile_table,
    slice_in_file,
)
from kseg.volumes.geometry import ras_affine, to_ras
from kseg.volumes.stored_geometry import StoredGeometry

HEADFIRST = StoredGeometry((4, 5, 6), np.diag([-1.0, -2.0, -3.0, 1.0]), ".nii")
"""A file that runs to the left, to the back and to the feet."""


def rows_of(stored: StoredGeometry, axis: int = 2) -> tuple[list[dict], list[dict]]:
    """Of a file with 2 x 2 voxels in slice 1 and one voxel in slice 3, its own numbers, and nothing of "gone"."""
    array = np.zeros(stored.shape, np.uint8)
    array[1:3, 1:3, 1] = array[1, 1, 3] = 9
    mask, affine = to_ras(array, stored.affine), ras_affine(stored.affine, stored.shape)
    found = measure_structures(mask, affine, {"bar": [9], "gone": [4]}, axis)
    return measures_rows("leg", "leg.nii", axis, stored, found), profile_rows("leg", "leg.nii", axis, stored, found)


def test_rows_are_those_worked_out_by_hand() -> None:
    (bar, gone), _ = rows_of(HEADFIRST)
    assert tuple(bar) == tuple(gone) == COLUMNS
    told = {column: value for column, value in bar.items() if "percent_mm2" not in column}
    assert told == {
        "case": "leg", "class_name": "bar", "mask": "leg.nii", "axis": "z",
        "volume_ml": 0.03, "length_mm": 9.0, "principal_length_mm": bar["principal_length_mm"],
        "largest_area_mm2": 8.0, "largest_area_at_mm": 7.5, "largest_area_slice": 1,
        "pieces": 2, "largest_piece_percent": 80.0,
        # Of voxels 1, 2, 1, 2 and 1 along i and j; of slices 1 four times, and 3.
        "centroid_x_ras_mm": -1.4, "centroid_y_ras_mm": -2.8, "centroid_z_ras_mm": -4.2,
        "image_mean": None, "image_sd": None, "image_median": None, "touches_border": False,
    }  # fmt: skip
    # From the feet up: 2, 0 and 8 mm2 with their middles at 1.5, 4.5 and 7.5 mm.
    assert [bar[f"area_at_{percent}_percent_mm2"] for percent in (10, 30, 50, 60, 90)] == pytest.approx(
        [2.0, 1.2, 0.0, 2.4, 8.0]
    )
    nowhere = {"volume_ml": 0.0, "length_mm": 0.0, "pieces": 0, "touches_border": False}
    assert {column: value for column, value in gone.items() if value is not None} == nowhere | {
        "case": "leg", "class_name": "gone", "mask": "leg.nii", "axis": "z"
    }  # fmt: skip


def test_areas_by_slice_begin_at_the_feet() -> None:
    _, rows = rows_of(HEADFIRST)
    assert [tuple(row.values()) for row in rows] == [
        ("leg", "bar", "leg.nii", "z", 3, 7.5, 1.5, 2.0),
        ("leg", "bar", "leg.nii", "z", 2, 10.5, 4.5, 0.0),
        ("leg", "bar", "leg.nii", "z", 1, 13.5, 7.5, 8.0),
    ]
    assert tuple(rows[0]) == PROFILE_COLUMNS


def test_a_file_that_does_not_say_where_it_lies_has_no_centroid() -> None:
    (bar, _), _ = rows_of(StoredGeometry((4, 5, 6), np.eye(4), ".nii", placed=False))
    assert [bar[f"centroid_{axis}_ras_mm"] for axis in "xyz"] == [None] * 3
    assert bar["volume_ml"] == 0.005


def test_slices_are_numbered_as_in_the_file() -> None:
    """A sagittal file: its slices k go to the left, its rows to the feet, its columns to the front."""
    affine = np.array([[0, 0, -2.0, 0], [1, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    stored = StoredGeometry((4, 5, 6), affine, ".mha")
    assert [slice_in_file(stored, axis, 1) for axis in range(3)] == [4, 1, 3]


def test_tables_keep_rows_of_other_masks_and_refuse_other_files(tmp_path: Path) -> None:
    path = tmp_path / "measures.csv"
    rows, profile = rows_of(HEADFIRST)
    measures_table(path).put("leg.nii", rows)
    measures_table(path).put("other.nii", [{**rows[0], "case": "other", "mask": "other.nii"}])
    measures_table(path).put("leg.nii", rows[:1])
    with path.open(encoding="utf-8", newline="") as file:
        assert [(row["case"], row["class_name"]) for row in csv.DictReader(file)] == [("other", "bar"), ("leg", "bar")]
    assert path.read_bytes().isascii()
    with pytest.raises(InputError, match=r"measures\.csv' is no table of areas that kseg wrote: move it away"):
        profile_table(path)
    profile_table(tmp_path / "areas.csv").put("leg.nii", profile)
    with pytest.raises(InputError, match="is no table of measures that kseg wrote"):
        measures_table(tmp_path / "areas.csv")


def test_pandas_reads_them(tmp_path: Path) -> None:
    rows, _ = rows_of(HEADFIRST)
    for name in ("soleus", "größe, =1+1"):
        path = tmp_path / "measures.csv"
        measures_table(path).put("leg.nii", [{**row, "class_name": name} for row in rows])
        frame = pandas.read_csv(path)
        assert tuple(frame.columns) == COLUMNS
        assert frame["class_name"].tolist() == [name, name]
        assert frame["volume_ml"].tolist() == [0.03, 0.0]
        assert frame["touches_border"].tolist() == [False, False]
        assert frame["largest_area_mm2"].isna().tolist() == [False, True]
