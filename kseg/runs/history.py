"""A run's `history.csv` read back: its curves, and what they say in a number."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from kseg.runs.owned_files import unusable
from kseg.storage.files import whole_file


def read_history(path: Path) -> dict[str, list[float]]:
    """Return each column with a value for each epoch that was validated; `epoch` is counted from 0.

    Of several rows of an epoch the last counts.

    Raises:
        InputError: the file is missing or is not one that training wrote.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = {
                int(row["epoch"]): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            }
    except FileNotFoundError:
        raise unusable(path) from None
    except (KeyError, TypeError, ValueError) as error:
        raise unusable(path, error) from None
    in_order = [rows[epoch] for epoch in sorted(rows)]
    return {key: [row[key] for row in in_order] for key in in_order[0]} if in_order else {}


def cut_history(path: Path, epochs: int) -> None:
    """Leave the rows of the first `epochs` epochs: a later one was written just before its run was killed."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        heading, *rows = file.readlines() or [""]
    kept = [row for row in rows if row.endswith("\n") and row.partition(",")[0] in map(str, range(epochs))]
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines([heading, *kept] if kept else [])


def epochs_to_share(history: Mapping[str, Sequence[float]], share: float) -> int:
    """Return after how many epochs the validation's Dice first reaches `share` of its last value."""
    dice = history["val_dice"]
    reached = next(row for row, value in enumerate(dice) if value >= share * dice[-1])
    return int(history["epoch"][reached]) + 1
