"""The runs that a command trains: one, or one for each fold; which of them go on, and which are finished."""

import json
import math
from dataclasses import dataclass
from typing import Any

from kseg.console.errors import InputError
from kseg.console.text import some_of
from kseg.recipe.sections import Recipe
from kseg.records.folds import validation_folds
from kseg.records.manifest import Manifest
from kseg.runs.data_description import DataDescription, LearnedFrom
from kseg.runs.owned_files import NAME_ANOTHER
from kseg.runs.planned_recipe import scales_of
from kseg.runs.run_folder import RunFolder
from kseg.runs.seen_scans import SeenScans
from kseg.runs.start_from import Start
from kseg.storage.files import whole_file
from kseg.storage.locations import Location

BOUNDS = ("epochs", "max_minutes")
"""Keys of the section 'train' that say how long to learn."""
MAY_CHANGE = (*BOUNDS, "cache_dir")
"""Keys of the section 'train' that may change when a run goes on."""
MAX_NAMED = 3


@dataclass(frozen=True)
class Run:
    """A run that is trained, or goes on.

    `recipe` holds all choices, with the plan's values (`planned_recipe`); `folder` takes all that training writes;
    `records` is the folder of the shards, which TensorFlow can read (`kseg.patches.file_systems`); `manifest` is the
    dataset's, with the run's own cases to train and to validate on; `description` says what its model takes and gives.
    """

    recipe: Recipe
    folder: RunFolder
    records: Location
    manifest: Manifest
    description: DataDescription

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(self.folder.saved_checkpoints)


def describe_data(recipe: Recipe, manifest: Manifest, start: Start | None = None) -> DataDescription:
    """Return what a model trained on a dataset expects, and learns from.

    Args:
        recipe: `planned_recipe`'s.
        manifest: of the dataset.
        start: the run that it starts from, whose scales it keeps where the same channels are normalised alike.
    """
    scales = scales_of(recipe.data.normalisation or (), manifest.plan)
    of_start = start.scales_of(manifest.channels) if start else None
    if of_start and [scale.kind for scale in of_start] == [scale.kind for scale in scales]:
        scales = of_start
    return DataDescription(
        channels=manifest.channels,
        labels=manifest.labels,
        other_labels=manifest.other_labels,
        ignore=manifest.ignore,
        regions=manifest.regions,
        annotation=manifest.annotation,
        scales=scales,
        spacing_mm=manifest.spacing_mm,
        learned_from=LearnedFrom.of_split(manifest),
        learned_before=start.learned_from if start else LearnedFrom(),
        seen=SeenScans.of_manifest(manifest),
    )


def make_runs(
    recipe: Recipe, records: Location, manifest: Manifest, folds: int, start: Start | None = None
) -> list[Run]:
    """Return the run in `saved_models/<name>`, or with `folds` above 0 those in its folders `fold-1`, `fold-2` ...

    Args:
        recipe: all choices, with the plan's values (`planned_recipe`).
        records: folder of the shards.
        manifest: of the dataset.
        folds: number of folds; their subjects to validate on are all but the test's.
        start: the run that they start from, if there is one.

    Raises:
        InputError: `folds` does not suit the number of subjects.
    """
    folder = RunFolder(recipe.run_folder)
    if not folds:
        return [Run(recipe, folder, records, manifest, describe_data(recipe, manifest, start))]
    runs = []
    for number, subjects in enumerate(validation_folds(manifest, folds, recipe.seed), start=1):
        of_fold = manifest.with_validation(subjects)
        description = describe_data(recipe, of_fold, start).model_copy(update={"val_subjects": tuple(subjects)})
        runs.append(Run(recipe, folder.fold(number), records, of_fold, description))
    return runs


def check_resumable(run: Run) -> None:
    """A run goes on only as what it was; how long it trains, and from where, may change.

    Raises:
        InputError: there is nothing to go on with, or it was another dataset, split, fold or recipe.
    """
    folder, recipe = run.folder, run.recipe
    if not folder.recipe.is_file():
        raise InputError(f"there is no run '{folder.path}' to resume: start it without --resume")
    description = folder.load_data_description()
    if description.val_subjects != run.description.val_subjects:
        raise InputError(
            f"run '{folder.path}' validated on other subjects: resume with the same --folds, seed and dataset"
        )
    if changes := description.changes(run.manifest):
        raise InputError(
            f"run '{folder.path}' began with other scans, or another split, than '{recipe.data.records}' has now "
            f"({some_of(changes, MAX_NAMED)}): prepare that as it was, or train anew and {NAME_ANOTHER}"
        )
    if description.of_scans != run.description.of_scans:
        raise InputError(
            f"run '{folder.path}' was trained on other channels, labels, annotated slices, regions, intensities or "
            f"voxels than those of '{recipe.data.records}'"
        )
    before, now = folder.load_recipe().model_dump(), recipe.model_dump()
    for key in MAY_CHANGE:
        before["train"].pop(key), now["train"].pop(key)
    before["data"].pop("spacing_mm"), now["data"].pop("spacing_mm")  # compared above; earlier versions kept it wrong
    for section, value in now.items():
        if before[section] != value:
            raise InputError(
                f"'{section}' of the recipe differs from that of run '{folder.path}', {folder.recipe}: resume with the "
                f"same recipe (of 'train', {', '.join(MAY_CHANGE)} may change), or {NAME_ANOTHER}"
            )


def write_report(run: Run, report: dict[str, Any]) -> None:
    """Keep what training reported, with the bounds it kept to: it marks the run as finished within these."""
    with whole_file(run.folder.report) as path:
        path.write_text(
            json.dumps({"bounds": _bounds(run.recipe), "report": report}, indent=2) + "\n", encoding="utf-8"
        )


def finished_report(run: Run) -> dict[str, Any] | None:
    """Return what training reported at its end; None if it has not ended, or within other bounds than the recipe's."""
    try:
        content = json.loads(run.folder.report.read_bytes())
        return dict(content["report"]) if content["bounds"] == _bounds(run.recipe) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # a report that cannot be read proves nothing: training goes on


def summarise_folds(recipe: Recipe, reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of a cross-validation: mean validation Dice, and the folds' own reports."""
    mean_dice = math.fsum(report["best_val_dice"] for report in reports) / len(reports)
    return {"run": str(recipe.run_folder), "best_val_dice": mean_dice, "folds": reports}


def _bounds(recipe: Recipe) -> dict[str, Any]:
    return recipe.train.model_dump(include=set(BOUNDS))
