"""The table beside predicted masks, `volumes.csv`: how large each structure is, and how good its mask may be."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.measures.mask_table import MaskTable

if TYPE_CHECKING:
    from kseg.inference.predictor import Segmentation

VOLUMES_FILE = "volumes.csv"
EXPECTED_COLUMNS = ("agreement", "expected_dice", "expected_dice_low", "expected_dice_high")
"""Empty where nothing is known."""
EARLIER_COLUMNS = ("case", "class_name", "prediction_ml", "mask")
"""Of tables of earlier versions."""
COLUMNS = (*EARLIER_COLUMNS, *EXPECTED_COLUMNS)
"""As in the tables of `kseg.evaluation.score_tables`; the mask is a path from the table's folder."""


class VolumeTable:
    """The `volumes.csv` of a folder of masks: a row for each mask and class; rows of other masks stay as they are.

    Raises:
        InputError: such a file is there, and is no table of kseg's.
    """

    def __init__(self, folder: Path) -> None:
        self._table = MaskTable(folder / VOLUMES_FILE, COLUMNS, "table of volumes", EARLIER_COLUMNS)

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
        self._table.put(mask, added)
        return added


def _expected(found: "Segmentation | None", structure: str) -> tuple[float | None, ...]:
    if found is None:
        return (None,) * len(EXPECTED_COLUMNS)
    agreement, expected = found.agreement.get(structure), found.expected.get(structure)
    return (agreement, expected.dice, expected.low, expected.high) if expected else (agreement, None, None, None)
