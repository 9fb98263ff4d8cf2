"""The table beside predicted masks, `volumes.csv`: how large each structure is, and how good its mask may be."""

import csv
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kseg.console.errors import InputError
from kseg.storage.files import alone_in, whole_file

if TYPE_CHECKING:
    from kseg.inference.predictor import Segmentation

VOLUMES_FILE = "volumes.csv"
EXPECTED_COLUMNS = ("agreement", "expected_dice", "expected_dice_low", "expected_dice_high")
"""Empty where nothing is known."""
EARLIER_COLUMNS = ("case", "class_name", "prediction_ml", "mask")
"""Of tables of earlier versions."""
COLUMNS = (*EARLIER_COLUMNS, *EXPECTED_COLUMNS)
"""As in the tables of `kseg.evaluation.score_tables`; the mask is a path from the table's folder."""


def volumes_ml(
    values: np.ndarray, spacing_mm: Sequence[float], structures: Mapping[str, Collection[int]]
) -> dict[str, float]:
    """Return the volume of each structure in ml.

    Args:
        values: label values, integers (x, y, z).
        spacing_mm: voxel size along x, y, z.
        structures: names, each with its label values, without the background; if empty, what is there is "label 1" and
            so on.
    """
    voxel_ml = float(math.prod(spacing_mm)) / 1000
    voxels: Counter[int] = Counter()
    for plane in values:  # plane by plane, because sorting takes memory
        present, counts = np.unique(plane, return_counts=True)
        voxels.update(dict(zip(present.tolist(), counts.tolist(), strict=True)))
    named = structures or {f"label {value}": (value,) for value in sorted(voxels) if value != 0}
    return {name: sum(voxels[value] for value in own) * voxel_ml for name, own in named.items()}


class VolumeTable:
    """The `volumes.csv` of a folder of masks: a row for each mask and class; rows of other masks stay as they are.

    Raises:
        InputError: such a file is there, and is no table of kseg's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / VOLUMES_FILE
        self._rows()

    def add(
        self, case: str, mask: str, volumes: Mapping[str, float], found: "Segmentation | None" = None
    ) -> list[dict[str, Any]]:
        """Put the volumes of a mask into the table on disk, in place of those that it has of a mask there.

        Args:
            case: its name.
            mask: its path from the table's folder.
            volumes: ml of each structure.
            found: the segmentation, for what it says of its quality.

        Returns:
            Its rows, by the columns.
        """
        added = [
            dict(zip(COLUMNS, (case, name, volume, mask, *_expected(found, name)), strict=True))
            for name, volume in volumes.items()
        ]
        with alone_in(self._path.parent):
            rows = [row for row in self._rows() if row["mask"] != mask]
            with whole_file(self._path) as path, path.open("w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                table.writeheader()
                table.writerows([*rows, *added])
        return added

    def _rows(self) -> list[dict[str, str]]:
        if not (self._path.is_symlink() or self._path.exists()):
            return []
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                table = csv.DictReader(file, strict=True)
                rows = list(table)
            ours = not self._path.is_symlink() and tuple(table.fieldnames or ()) in (COLUMNS, EARLIER_COLUMNS)
            ours = ours and not any(None in row or None in row.values() for row in rows)
        except (csv.Error, UnicodeDecodeError, IsADirectoryError):
            ours = False
        if not ours:
            raise InputError(
                f"'{self._path}' is no table of volumes that kseg wrote: move it away, or choose another --out"
            )
        return rows


def _expected(found: "Segmentation | None", structure: str) -> tuple[float | None, ...]:
    if found is None:
        return (None,) * len(EXPECTED_COLUMNS)
    agreement, expected = found.agreement.get(structure), found.expected.get(structure)
    return (agreement, expected.dice, expected.low, expected.high) if expected else (agreement, None, None, None)
