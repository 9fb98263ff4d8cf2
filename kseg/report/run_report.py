"""The report of a run: scores, curves, best and worst case, volume agreement, recipe."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.evaluation.score_tables import headings, means
from kseg.evaluation.scores import Statistic
from kseg.pictures.bland_altman import bland_altman
from kseg.pictures.curves import RunCurves, four_panels
from kseg.pictures.png import png_bytes
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.report.page import inside, write_page
from kseg.runs.history import read_history
from kseg.runs.precision_recall import read_precision_recall
from kseg.runs.run_folder import RunFolder


@dataclass(frozen=True)
class MeanScores:
    """What a table shows of a run's scores on a split: for each class, and for all, the mean under each heading."""

    cases: int
    headings: list[str]
    rows: dict[str, list[str]]


@dataclass(frozen=True)
class RunPart:
    """What a page shows of a run's scores on a split; pictures are addresses that hold them."""

    split: str
    scores: MeanScores
    pictures: list[tuple[str, str, str]]
    """Heading, case and picture."""
    agreement: str
    seed: int
    changes: tuple[str, ...] = ()


def write_run_report(folder: RunFolder, recipe: Recipe, split: str) -> None:
    """Write `evaluation/<split>.html` of a run whose split has been scored; an ensemble of folds has no curves."""
    curves = inside(png_bytes(four_panels({"": [read_curves(folder)]}))) if folder.history.is_file() else None
    _, _, page = folder.split_scores(split)
    write_page(
        "run.html",
        page,
        title=f"{recipe.name}: {split} cases",
        part=run_part(folder, split, recipe.seed),
        curves=curves,
        recipe=dump_recipe(recipe),
    )


def read_curves(folder: RunFolder) -> RunCurves:
    """Read a run's history, and its precision and recall when last looked at."""
    return RunCurves(read_history(folder.history), *read_precision_recall(folder.precision_recall))


def read_scores(folder: RunFolder, split: str) -> MeanScores:
    """Read the means of a run's scores on a split.

    Raises:
        InputError: the split has not been scored.
    """
    with _scores_of(folder, split) as document:
        return _mean_scores(document["summary"])


def run_part(folder: RunFolder, split: str, seed: int, changes: tuple[str, ...] = ()) -> RunPart:
    """Collect what a page shows of a run's scores.

    Raises:
        InputError: the split has not been scored.
    """
    with _scores_of(folder, split) as document:
        mean_scores = _mean_scores(document["summary"])
        scores = document["cases"]
        volumes = {
            name: [
                (row["truth_ml"], row["prediction_ml"])
                for case in scores.values()
                for row in case
                if row["class_name"] == name
            ]
            for name in document["summary"]["classes"]
        }
        dice = {case: [row["dice"] for row in rows if row["dice"] is not None] for case, rows in scores.items()}
    ranked = sorted((case for case in dice if dice[case]), key=lambda case: fmean(dice[case]))
    extremes = (
        [("Best case", ranked[-1]), ("Worst case", ranked[0])]
        if len(ranked) > 1
        else [("The case", case) for case in ranked]
    )
    pictures = [
        (f"{heading}, Dice {fmean(dice[case]):.3f}", case, inside(path.read_bytes()))
        for heading, case in extremes
        if (path := folder.picture(split, case)).is_file()
    ]
    return RunPart(
        split=split,
        scores=mean_scores,
        pictures=pictures,
        agreement=inside(png_bytes(bland_altman(volumes), dots_per_inch=100)),
        seed=seed,
        changes=changes,
    )


@contextmanager
def _scores_of(folder: RunFolder, split: str) -> Iterator[Any]:
    """Give what `kseg.evaluation.score_tables.write_scores` wrote; whatever is amiss with it is the user's to fix."""
    path, _, _ = folder.split_scores(split)
    try:
        yield json.loads(path.read_bytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"'{path}' is missing or damaged: {command_line('evaluate')} makes it") from None


def _mean_scores(summary: dict[str, Any]) -> MeanScores:
    classes = {**summary["classes"], "all classes": summary["foreground"]}
    rows = {name: means(_statistics(found)) for name, found in classes.items()}
    return MeanScores(summary["cases"], headings(summary["nsd_tolerance_mm"]), rows)


def _statistics(found: dict[str, Any]) -> dict[str, Statistic]:
    """The statistics by measure, as they were before they were written as JSON."""
    return {measure: Statistic(**values) for measure, values in found.items()}
