"""The measures of a case in its truth and in its prediction: rows as those of `kseg measure`, each with its source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseg.measures import tables
from kseg.measures.mask_table import write_table
from kseg.measures.structures import measure_structures
from kseg.records.prepared_case import PreparedCase
from kseg.volumes.geometry import grid_difference
from kseg.volumes.labels import LabelMap
from kseg.volumes.volume_stream import stream_of_volume

SOURCE = "source"
TRUTH, PREDICTION = "truth", "prediction"
COLUMNS = ("case", "class_name", SOURCE, *(name for name in tables.COLUMNS if name not in ("case", "class_name")))
"""Those of `measures.csv`, with one more. The truth is no file beside the table: its `mask` is empty."""


def case_measures(
    case: PreparedCase, prediction: np.ndarray, label_map: LabelMap, mask_file: str
) -> list[dict[str, Any]]:
    """Measure every structure of a case in its truth and in its prediction, on the scan's own grid, along z.

    The image is measured where it lies on that grid. Where the case was resampled it does not, and nothing of it is
    told: values between voxels scatter less than the scan's own.

    Args:
        case: labelled as a whole.
        prediction: class indices (x, y, z) on the grid of `case.truth`.
        label_map: names the structures, classes or regions.
        mask_file: of the prediction, as a path from the table.

    Returns:
        A row, by `COLUMNS`, for each structure in the truth, then for each in the prediction.
    """
    truth = case.truth
    structures = dict(zip(label_map.structure_names, label_map.structures.members, strict=True))
    image = None if grid_difference(case.image, truth, "its truth") else stream_of_volume(case.image)
    rows = []
    for source, mask, file in ((TRUTH, truth.array, ""), (PREDICTION, prediction, mask_file)):
        measured = measure_structures(mask, truth.affine, structures, tables.Z_AXIS, image)
        own = tables.measures_rows(case.case, file, tables.Z_AXIS, truth.stored, measured)
        rows += [{**row, SOURCE: source} for row in own]
    return rows


def write_case_measures(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of all cases of a split, in place of those of an earlier evaluation."""
    write_table(path, COLUMNS, rows)
