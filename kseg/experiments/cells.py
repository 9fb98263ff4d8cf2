"""What a finished cell of a grid leaves: its scores, marked with what they were made from."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from kseg.console.errors import InputError
from kseg.recipe.grid import Cell
from kseg.recipe.load import dump_recipe
from kseg.storage.files import whole_file

FINISHED = "cell.json"


class Training(BaseModel):
    """What `kseg.train --json` reports of a run, as far as an experiment compares it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    parameters: PositiveInt
    epochs: NonNegativeInt
    minutes: NonNegativeFloat
    step_seconds: NonNegativeFloat
    best_val_dice: FiniteFloat
    epochs_to_90: PositiveInt
    """Epochs until the Dice on validation patches first reached nine tenths of its last value."""
    alpha: FiniteFloat | None
    """Learned penalty of false positives at the end; None where none was learned."""


class CellScores(BaseModel):
    """A cell's training, and its scores on whole volumes by split: means over classes and cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_from: str
    training: Training
    dice: dict[str, FiniteFloat]
    dice_by_class: dict[str, dict[str, FiniteFloat]]
    precision: dict[str, FiniteFloat]
    recall: dict[str, FiniteFloat]
    hd95_mm: dict[str, NonNegativeFloat]


def origin(cell: Cell, dataset: str) -> str:
    """Return the SHA-256 of what a cell's scores depend on: its recipe, and its dataset by the manifest's SHA-256."""
    return hashlib.sha256(f"{dataset}\n{dump_recipe(cell.recipe)}".encode()).hexdigest()


def scores_from(made_from: str, training: Training, evaluated: dict[str, dict[str, Any]]) -> CellScores:
    """Collect a training and, split by split, what `kseg.evaluate --json` reported."""
    summaries = {split: report["summary"] for split, report in evaluated.items()}

    def means(measure: str) -> dict[str, float]:
        found = {split: summary["foreground"].get(measure) for split, summary in summaries.items()}
        return {split: statistic["mean"] for split, statistic in found.items() if statistic}

    return CellScores(
        made_from=made_from,
        training=training,
        dice=means("dice"),
        dice_by_class={
            split: {name: found["dice"]["mean"] for name, found in summary["classes"].items() if "dice" in found}
            for split, summary in summaries.items()
        },
        precision=means("precision"),
        recall=means("recall"),
        hd95_mm=means("hd95_mm"),
    )


def write_scores(cell: Cell, scores: CellScores) -> None:
    """Mark the cell as finished."""
    with whole_file(cell.recipe.run_folder / FINISHED) as path:
        path.write_text(json.dumps(scores.model_dump(), indent=2) + "\n", encoding="utf-8")


def finished_scores(cell: Cell, made_from: str) -> CellScores | None:
    """Return the scores of a cell; None if it is not finished.

    Raises:
        InputError: it was made from another recipe or dataset.
    """
    path = cell.recipe.run_folder / FINISHED
    try:
        scores = CellScores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise InputError(f"'{path}' is damaged: delete the folder '{path.parent}', and the cell is made anew") from None
    if scores.made_from != made_from:
        raise InputError(
            f"'{path.parent}' was made from another recipe or dataset: choose another name=..., or delete that folder"
        )
    return scores
