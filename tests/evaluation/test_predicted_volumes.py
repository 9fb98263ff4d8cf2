"""Volumes of masks in ml, and a table of them that loses no row of other masks."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np

from kseg.evaluation.predicted_volumes import COLUMNS, EXPECTED_COLUMNS, VolumeTable
from kseg.evaluation.scores import ClassScore
from kseg.inference.expected_dice import Expectation
from kseg.inference.predictor import Segmentation


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "volumes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_named_as_those_of_scores() -> None:
    assert {*COLUMNS} - {"mask"} <= {"case", *(field.name for field in fields(ClassScore))}


def test_rows_of_other_masks_stay(tmp_path: Path) -> None:
    table = VolumeTable(tmp_path)
    assert not list(tmp_path.iterdir())
    table.add("3/x1", "3/x1.mha", {"soleus": 1.5, "other, with a comma": 0.1})
    added = VolumeTable(tmp_path).add("4/x1", "4/x1.mha", {"soleus": 2.0})
    unknown = dict.fromkeys(EXPECTED_COLUMNS)
    assert added == [{"case": "4/x1", "class_name": "soleus", "prediction_ml": 2.0, "mask": "4/x1.mha", **unknown}]
    VolumeTable(tmp_path).add("3/x1", "3/x1.mha", {"soleus": 0.3})
    assert [(row["case"], row["class_name"], float(row["prediction_ml"])) for row in rows(tmp_path)] == [
        ("4/x1", "soleus", 2.0),
        ("3/x1", "soleus", 0.3),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["volumes.csv"]


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    earlier = "case,class_name,prediction_ml,mask\n3/x1,soleus,1.5,3/x1.mha\n"
    (tmp_path / "volumes.csv").write_text(earlier, encoding="utf-8")
    expected = {"soleus": Expectation(0.8, 0.7, 0.9, doubtful=False)}
    found = Segmentation(np.zeros((1, 1, 1)), {"soleus": 0.95, "gm": 0.9}, expected)
    VolumeTable(tmp_path).add("4/x1", "4/x1.mha", {"soleus": 2.0, "gm": 1.0}, found)
    assert [list(row.values()) for row in rows(tmp_path)] == [
        ["3/x1", "soleus", "1.5", "3/x1.mha", "", "", "", ""],
        ["4/x1", "soleus", "2.0", "4/x1.mha", "0.95", "0.8", "0.7", "0.9"],
        ["4/x1", "gm", "1.0", "4/x1.mha", "0.9", "", "", ""],
    ]


def test_several_processes_write_one_table(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: VolumeTable(tmp_path).add(f"{n}", f"{n}.nii", {"soleus": n}), range(24)))
    assert sorted(int(row["case"]) for row in rows(tmp_path)) == list(range(24))
