"""The measures of a case in truth and prediction, on grids worked by hand."""

from pathlib import Path

import numpy as np
import pandas
import pytest

from kseg.evaluation.case_measures import COLUMNS, case_measures, write_case_measures
from kseg.measures import tables
from kseg.records.prepared_case import PreparedCase
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

REGIONS = (
    Region(name="muscle", labels=("soleus", "größe"), writes="soleus"),
    Region(name="core", labels=("größe",), writes="größe"),
)
OVERLAPPING = LabelMap(("background", "soleus", "größe"), (0, 100, 150), regions=REGIONS)


def volume(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    x, y, z = array.shape[:3]
    return Volume(array, affine, StoredGeometry((x, y, z), affine, ".nii"))


def case_of(truth: np.ndarray, image: Volume) -> PreparedCase:
    return PreparedCase("leg", "anna", image, truth, np.zeros((1, 4)), volume(truth, (1.0, 2.0, 3.0)))


@pytest.fixture
def masks() -> tuple[np.ndarray, np.ndarray]:
    """Of class 1 the truth has 12 voxels around the 4 of class 2; the prediction lacks class 2, and a slice."""
    truth, prediction = np.zeros((2, 6, 6, 7), np.uint8)
    truth[1:5, 1:3, 2:4] = 1
    truth[2:4, 1:3, 2] = 2
    prediction[1:5, 1:3, 2] = 1
    return truth, prediction


def test_truth_and_prediction_of_regions_with_the_intensities_within(masks: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = masks
    image = np.random.default_rng(0).integers(0, 900, (6, 6, 7, 2)).astype(np.uint16)
    rows = case_measures(case_of(truth, volume(image, (1.0, 2.0, 3.0))), prediction, OVERLAPPING, "test-leg.nii.gz")
    assert [(row["case"], row["class_name"], row["source"], row["mask"]) for row in rows] == [
        ("leg", "muscle", "truth", ""),
        ("leg", "core", "truth", ""),
        ("leg", "muscle", "prediction", "test-leg.nii.gz"),
        ("leg", "core", "prediction", "test-leg.nii.gz"),
    ]
    assert [row["volume_ml"] for row in rows] == [0.096, 0.024, 0.048, 0.0]  # 16, 4 and 8 voxels of 6 mm3
    assert [row["length_mm"] for row in rows] == [6.0, 3.0, 3.0, 0.0]
    assert [row["largest_area_mm2"] for row in rows] == [16.0, 8.0, 16.0, None]
    assert [row["largest_area_slice"] for row in rows] == [2, 2, 2, None]
    assert [row["pieces"] for row in rows] == [1, 1, 1, 0]
    inside = [truth > 0, truth == 2, prediction > 0]
    assert [row["image_mean"] for row in rows[:3]] == pytest.approx(
        [image[..., 0][there].mean() for there in inside], rel=1e-6
    )
    assert rows[3]["image_mean"] is None


def test_an_image_on_another_grid_is_not_measured(masks: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = masks
    image = np.zeros((3, 6, 11, 1), np.float32)
    rows = case_measures(case_of(truth, volume(image, (2.0, 2.0, 2.0))), prediction, OVERLAPPING, "test-leg.nii.gz")
    assert [row["volume_ml"] for row in rows] == [0.096, 0.024, 0.048, 0.0]
    assert [row["image_mean"] for row in rows] == [None] * 4


def test_pandas_reads_the_table_which_has_one_column_more(masks: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    truth, prediction = masks
    label_map = LabelMap(("background", "soleus", "größe"), (0, 100, 150))
    image = volume(np.zeros((6, 6, 7, 1), np.uint8), (1.0, 2.0, 3.0))
    write_case_measures(tmp_path / "test_measures.csv", [])
    assert list(pandas.read_csv(tmp_path / "test_measures.csv").columns) == list(COLUMNS)
    write_case_measures(
        tmp_path / "test_measures.csv", case_measures(case_of(truth, image), prediction, label_map, "test-leg.nii.gz")
    )
    found = pandas.read_csv(tmp_path / "test_measures.csv")
    assert set(found.columns) - set(tables.COLUMNS) == {"source"}
    wide = found.pivot(index="class_name", columns="source", values="volume_ml")
    assert wide.loc["soleus"].to_dict() == {"truth": 0.072, "prediction": 0.048}
    assert wide.loc["größe"].to_dict() == {"truth": 0.024, "prediction": 0.0}
    assert [path.name for path in tmp_path.iterdir()] == ["test_measures.csv"]
