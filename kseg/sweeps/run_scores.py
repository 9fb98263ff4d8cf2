"""What a finished run of a sweep leaves: its scores, marked with what they were made from."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from kseg.console.errors import InputError
from kseg.recipe.load import dump_as_before, dump_unplanned
from kseg.recipe.sweep import SweepRun
from kseg.runs.owned_files import NAME_ANOTHER, SWEEP_SCORES_FILE
from kseg.runs.planned_recipe import planned_evaluation
from kseg.storage.files import whole_file


class Training(BaseModel):
    """What `kseg.train --json` reports of a run, as far as a sweep compares it."""

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


class RunScores(BaseModel):
    """A run's training, and its scores on whole volumes by split: means over classes and cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_from: str
    training: Training
    dice: dict[str, FiniteFloat]
    dice_by_class: dict[str, dict[str, FiniteFloat]]
    precision: dict[str, FiniteFloat]
    recall: dict[str, FiniteFloat]
    hd95_mm: dict[str, NonNegativeFloat]


def origin(run: SweepRun, dataset: str) -> str:
    """Return the SHA-256 of what a run's scores depend on: its recipe, and its dataset by the manifest's SHA-256."""
    return _digest(dataset, dump_unplanned(run.recipe))


def origin_of_before(run: SweepRun, dataset: str, class_names: Sequence[str]) -> str:
    """Return what earlier versions wrote for `origin`, empty where they made other masks of the same recipe.

    They averaged over no flips where the recipe said nothing, and did not tell that from what is planned.
    """
    if planned_evaluation(run.recipe, class_names).flip_axes != run.recipe.evaluation.flip_axes:
        return ""
    return _digest(dataset, dump_as_before(run.recipe))


def _digest(dataset: str, recipe_text: str) -> str:
    return hashlib.sha256(f"{dataset}\n{recipe_text}".encode()).hexdigest()


def scores_from(made_from: str, training: Training, evaluated: dict[str, dict[str, Any]]) -> RunScores:
    """Collect a training and, split by split, what `kseg.evaluate --json` reported."""
    summaries = {split: report["summary"] for split, report in evaluated.items()}

    def means(measure: str) -> dict[str, float]:
        found = {split: summary["foreground"].get(measure) for split, summary in summaries.items()}
        return {split: statistic["mean"] for split, statistic in found.items() if statistic}

    return RunScores(
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


def mark_finished(run: SweepRun, scores: RunScores) -> None:
    """Mark the run as finished."""
    with whole_file(run.recipe.run_folder / SWEEP_SCORES_FILE) as path:
        path.write_text(json.dumps(scores.model_dump(), indent=2) + "\n", encoding="utf-8")


def finished_scores(run: SweepRun, *made_from: str) -> RunScores | None:
    """Return the scores of a run; None if it is not finished. `made_from` are the `origin`s that it may have.

    Raises:
        InputError: it was made from another recipe or dataset.
    """
    path = run.recipe.run_folder / SWEEP_SCORES_FILE
    try:
        scores = RunScores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise InputError(f"'{path}' is damaged: delete the folder '{path.parent}', and the run is made anew") from None
    if scores.made_from not in made_from:
        raise InputError(
            f"'{path.parent}' was made from another recipe or dataset, or by a version of kseg with other "
            f"defaults: {NAME_ANOTHER}, or delete that folder"
        )
    return scores
