"""The report of a run: scores by class and by case, curves, best and worst case, volume agreement, recipe."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.evaluation.case_pictures import WORST
from kseg.evaluation.measure_agreement import MeasureAgreement
from kseg.evaluation.score_tables import case_cells, case_headings, headings, means, partly_labelled_note
from kseg.evaluation.scores import ClassScore, Statistic, mean_dice
from kseg.evaluation.written_scores import scores_by_case, written_scores
from kseg.pictures.bland_altman import LEAST_CASES, bland_altman
from kseg.pictures.curves import RunCurves, training_curves
from kseg.pictures.png import png_bytes
from kseg.pictures.score_distributions import score_distributions
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.report.agreement_table import AgreementTable, agreement_table
from kseg.report.case_table import CaseTable, case_table, values_of
from kseg.report.glance import had_time, how_good, where_it_fails
from kseg.report.page import inside, write_page
from kseg.runs.history import read_history
from kseg.runs.precision_recall import read_precision_recall
from kseg.runs.run_folder import RunFolder

DISTRIBUTIONS = {"dice": "Dice", "hd95_mm": "HD95 mm", "volume_error_percent": "volume error %"}
"""Of which scores the distribution is drawn, and their headings."""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class MeanScores:
    """What a table shows of a run's scores on a split: for each class, and for all, the mean under each heading."""

    cases: int
    headings: list[str]
    rows: dict[str, list[str]]
    note: str = ""
    """Why some cases have fewer scores; empty where none has."""


@dataclass(frozen=True)
class CaseScores:
    """What a table shows of a case: its mean Dice, and for each class what stands under each heading."""

    case: str
    dice: str
    rows: dict[str, list[str]]


@dataclass(frozen=True)
class RunPart:
    """What a page shows of a run's scores on a split; pictures are addresses that hold them."""

    split: str
    scores: MeanScores
    case_headings: list[str]
    cases: list[CaseScores]
    """The worst mean Dice first."""
    pictures: list[tuple[str, str, str]]
    """Heading, case and picture."""
    glance: list[str]
    """Sentences that say how good the masks are, where they fail, and whether training had time enough."""
    overview: CaseTable
    distributions: str | None
    """Picture of how scores are spread over cases; None where there is one case."""
    agreement: str | None
    """Picture; None where no class has two cases."""
    agreement_note: str
    seed: int
    changes: tuple[str, ...] = ()
    measures: AgreementTable | None = None
    """How far measures agree; None where no structure has two cases, or an earlier version measured none."""


def write_run_report(folder: RunFolder, recipe: Recipe, split: str) -> None:
    """Write `evaluation/<split>.html` of a run whose split has been scored; an ensemble of folds has no curves."""
    curves = inside(png_bytes(training_curves({"": [read_curves(folder)]}))) if folder.history.is_file() else None
    _, _, page = folder.split_scores(split)
    write_page(
        "run.html",
        page,
        title=f"{recipe.name}: {SPLIT_NAMES[split]} cases",
        part=run_part(folder, split, recipe.seed),
        curves=curves,
        recipe=dump_recipe(recipe),
        view_command=f"{command_line('view')} {folder.path} --split {split}",
    )


def read_curves(folder: RunFolder) -> RunCurves:
    """Read a run's history, and its precision and recall when last looked at."""
    return RunCurves(read_history(folder.history), *read_precision_recall(folder.precision_recall))


def read_scores(
    folder: RunFolder, split: str, models: Sequence[str] = (), scored: Mapping[str, Any] | None = None
) -> MeanScores:
    """Read the means of a run's scores on a split.

    Args:
        folder: of the run.
        split: that was scored.
        models: SHA-256 of those whose scores they are to be, if the file says whose they are; none for any.
        scored: which masks they are to be of, as far as it says so (`kseg.evaluation.scored_masks`).

    Raises:
        InputError: the split has not been scored, or with other models, or in another way.
    """
    with written_scores(folder, split) as document:
        scored_with = document.get("models", [])
        path, _, _ = folder.split_scores(split)
        if models and scored_with and scored_with != list(models):
            raise InputError(f"'{path}' has the scores of other models: {command_line('evaluate')} makes it anew")
        made = document.get("scored", {})
        if others := [key for key, value in (scored or {}).items() if made.get(key, value) != value]:
            raise InputError(f"'{path}' has scores with another {others[0]}: {command_line('evaluate')} makes it anew")
        return _mean_scores(document["summary"])


def run_part(folder: RunFolder, split: str, seed: int, changes: tuple[str, ...] = ()) -> RunPart:
    """Collect what a page shows of a run's scores.

    Raises:
        InputError: the split has not been scored.
    """
    with written_scores(folder, split) as document:
        summary = document["summary"]
        mean_scores = _mean_scores(summary)
        scores = scores_by_case(document)
        volumes = {name: _volumes(scores, name) for name in summary["classes"]}
        expected = any(score.expected_dice is not None for of_case in scores.values() for score in of_case)
        headings_by_case = case_headings(*_tolerances_mm(summary), expected)
        measured = document.get("measure_agreement")  # of earlier versions there is none
        agreement = MeasureAgreement.from_json(measured) if measured else None
        measures = agreement_table(agreement, summary.get("partly_labelled", 0))
    dice = {case: mean_dice(of_case) for case, of_case in scores.items()}
    ranked = sorted((found, case) for case, found in dice.items() if found is not None)
    unscored = [case for case, found in dice.items() if found is None]
    if len(ranked) > 1:
        worst = ranked[: min(WORST, len(ranked) - 1)]
        extremes = [
            ("Worst case", worst[0]),
            *(("Among the worst", one) for one in worst[1:]),
            ("Best case", ranked[-1]),
        ]
    else:
        extremes = [("The case", one) for one in ranked]
    pictures = [
        (f"{heading}, Dice {found:.3f}", case, inside(path.read_bytes()))
        for heading, (found, case) in extremes
        if (path := folder.picture(split, case)).is_file()
    ]
    drawn = max(map(len, volumes.values()), default=0) > 1
    in_order = [*(case for _, case in ranked), *unscored]
    return RunPart(
        split=split,
        glance=_glance(folder, summary, scores),
        overview=case_table({case: scores[case] for case in in_order}),
        distributions=_distributions(scores) if len(ranked) > 1 else None,
        scores=mean_scores,
        case_headings=headings_by_case,
        cases=[_case_scores(case, scores[case], expected) for case in in_order],
        pictures=pictures,
        agreement=inside(png_bytes(bland_altman(volumes), dots_per_inch=100)) if drawn else None,
        agreement_note=_agreement_note([len(pairs) for pairs in volumes.values() if pairs]),
        seed=seed,
        changes=changes,
        measures=measures,
    )


def _glance(folder: RunFolder, summary: dict[str, Any], scores: Mapping[str, Sequence[ClassScore]]) -> list[str]:
    classes = {name: _statistics(found) for name, found in summary["classes"].items()}
    sentences = [how_good(_statistics(summary["foreground"]), scores), where_it_fails(classes, scores)]
    if folder.history.is_file():
        sentences.append(had_time(read_history(folder.history), _steps(folder)))
    return [sentence for sentence in sentences if sentence]


def _steps(folder: RunFolder) -> int | None:
    """Return how many steps the run made; None where its report is missing, or of a version that did not count."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return int(json.loads(folder.report.read_bytes())["report"]["steps"])
    return None


def _distributions(scores: Mapping[str, Sequence[ClassScore]]) -> str:
    """Draw the scores of all cases by class, as an address; a score that no case has gets no panel."""
    by_class: dict[str, list[ClassScore]] = {}
    for score in (score for of_case in scores.values() for score in of_case):
        by_class.setdefault(score.class_name, []).append(score)
    panels = {
        heading: {name: values_of(own, measure) for name, own in by_class.items()}
        for measure, heading in DISTRIBUTIONS.items()
    }
    drawn = {heading: panel for heading, panel in panels.items() if any(panel.values())}
    return inside(png_bytes(score_distributions(drawn), dots_per_inch=100))


def _case_scores(case: str, scores: Sequence[ClassScore], expected: bool) -> CaseScores:
    dice = mean_dice(scores)
    rows = {score.class_name: case_cells(score, expected) for score in scores}
    return CaseScores(case, "-" if dice is None else f"{dice:.3f}", rows)


def _volumes(scores: Mapping[str, Sequence[ClassScore]], class_name: str) -> list[tuple[float, float]]:
    """Truth and prediction of a class, in ml, of each case in which either has it."""
    found = [score for of_case in scores.values() for score in of_case if score.class_name == class_name]
    return [
        (score.truth_ml, score.prediction_ml)
        for score in found
        if score.truth_ml is not None and score.prediction_ml is not None and score.truth_ml + score.prediction_ml
    ]


def _agreement_note(cases: Sequence[int]) -> str:
    """Say what is drawn of classes that have so many cases each."""
    note = "Prediction minus truth over their mean, a point for each case; solid line: mean difference."
    if max(cases, default=0) >= LEAST_CASES:
        note += " Dashed: limits of agreement, 1.96 standard deviations away (Bland and Altman 1986)."
    if min(cases, default=0) < LEAST_CASES:
        note += f" Limits of agreement need {LEAST_CASES} cases of a class"
        note += "; classes with fewer have none." if max(cases, default=0) >= LEAST_CASES else "."
    return note


def _mean_scores(summary: dict[str, Any]) -> MeanScores:
    classes = {**summary["classes"], "all classes": summary["foreground"]}
    rows = {name: means(_statistics(found)) for name, found in classes.items()}
    note = partly_labelled_note(summary.get("partly_labelled", 0), summary["cases"])
    return MeanScores(summary["cases"], headings(*_tolerances_mm(summary)), rows, note)


def _tolerances_mm(summary: dict[str, Any]) -> tuple[float, float]:
    """The largest and the least of the normalised surface Dice; earlier versions had one for all cases."""
    largest_mm = summary["nsd_tolerance_mm"]
    return largest_mm, summary.get("nsd_tolerance_least_mm", largest_mm)


def _statistics(found: dict[str, Any]) -> dict[str, Statistic]:
    """The statistics by measure, as they were before they were written as JSON."""
    return {measure: Statistic(**values) for measure, values in found.items()}
