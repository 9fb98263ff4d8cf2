"""All runs of a sweep, a few side by side; what is finished is not done again."""

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pydantic import ValidationError

from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.recipe.sweep import SweepRun
from kseg.recipe.types import EVALUATED
from kseg.records.manifest import MANIFEST, Manifest, is_prepared, load_manifest
from kseg.records.preparation_keys import check_preparation_keys
from kseg.runs.owned_files import NAME_ANOTHER, RECIPE_FILE, RUN, SWEEP_SCORES_FILE
from kseg.runs.planned_recipe import planned_evaluation
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.disk import check_writable
from kseg.storage.files import sha256_of
from kseg.storage.locations import Location
from kseg.storage.ownership import Kind, check_replaceable, claim
from kseg.sweeps.commands import Commands
from kseg.sweeps.run_scores import (
    RunScores,
    Training,
    finished_scores,
    mark_finished,
    origin,
    origin_of_before,
    scores_from,
)


def _was_a_grid(folder: Location) -> bool:
    """Whether a folder without a marker has runs where a sweep of an earlier version had them."""
    return any(folder.glob(f"*/seed-*/{RECIPE_FILE}"))


SWEEP = Kind("grid", (), NAME_ANOTHER, _was_a_grid)
"""Nothing replaces a sweep as a whole, so its table is empty."""


def claim_folders(recipe: Recipe, runs: Sequence[SweepRun]) -> None:
    """Make the sweep's folder, or take it up, and see to it that each run has its place there.

    Raises:
        InputError: something else is in the place of the grid or of a run, or the disk takes no files there.
    """
    folder = recipe.run_folder
    check_writable(folder if folder.is_dir() else folder.parent)
    claim(folder, SWEEP)
    for run in runs:
        of_run = RunFolder(run.recipe.run_folder)
        if not of_run.saved_checkpoints and not (of_run.path / SWEEP_SCORES_FILE).is_file():
            check_replaceable(of_run.path, RUN)


def prepare(path: Path, overrides: Sequence[str], recipe: Recipe) -> Manifest:
    """Prepare the sweep's dataset, unless it is there, and return its manifest.

    Raises:
        InputError: it cannot be prepared, or was prepared otherwise than the recipe says.
    """
    folder = recipe.records_folder
    if not is_prepared(folder):
        Commands(recipe.run_folder / "prepare.log")("prepare", str(path), *overrides)
    manifest = load_manifest(folder)
    check_preparation_keys(recipe, manifest)
    return manifest


def run_sweep(
    path: Path, overrides: Sequence[str], runs: Sequence[SweepRun], manifest: Manifest, jobs: int
) -> Iterator[tuple[SweepRun, RunScores | InputError]]:
    """Train and evaluate every run that is not finished; yield each run with its scores, or with what went wrong.

    Args:
        path: the recipe.
        overrides: changes to all runs.
        runs: of the sweep.
        manifest: of the prepared dataset.
        jobs: runs side by side; they share the processor's cores evenly.

    Raises:
        InputError: a finished run was made from another recipe or dataset.
    """
    dataset = sha256_of(runs[0].recipe.records_folder / MANIFEST)
    splits: list[str] = [split for split in EVALUATED if manifest.of_split(split)]
    origins = {run.recipe.name: origin(run, dataset) for run in runs}
    class_names = manifest.label_map.foreground_names
    finished = {
        run.recipe.name: finished_scores(run, origins[run.recipe.name], origin_of_before(run, dataset, class_names))
        for run in runs
    }
    for run in runs:
        if scores := finished[run.recipe.name]:
            yield run, scores
    free_cores: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
    for share in _shares(jobs):
        free_cores.put(share)
    at_work: list[Commands] = []

    def attempt(run: SweepRun, cores: tuple[int, ...]) -> RunScores | InputError:
        name = run.recipe.name
        commands = Commands(run.recipe.run_folder.with_suffix(".log"), cores)
        at_work.append(commands)
        try:
            with refusals_told():
                own = name == run.trainer
                trained = _train(commands, path, overrides, run) if own else _take_model(run, finished[run.trainer])
                evaluated = {split: commands("evaluate", name, "--split", split) for split in splits}
                scores = scores_from(origins[name], trained, evaluated)
                mark_finished(run, scores)
        except InputError as error:
            return error
        finished[name] = scores
        return scores

    def share_training(sharing: Sequence[SweepRun]) -> list[tuple[SweepRun, RunScores | InputError]]:
        cores = free_cores.get()
        try:
            return [(run, attempt(run, cores)) for run in sharing]
        finally:
            free_cores.put(cores)

    missing: dict[str, list[SweepRun]] = {}
    for run in runs:  # a trainer comes before those that share its training
        if finished[run.recipe.name] is None:
            missing.setdefault(run.trainer, []).append(run)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(share_training, sharing) for sharing in missing.values()]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for commands in at_work:
                commands.stop()


def _train(commands: Commands, path: Path, overrides: Sequence[str], run: SweepRun) -> Training:
    begun = RunFolder(run.recipe.run_folder).saved_checkpoints
    report = commands("train", str(path), *overrides, *run.changes, "--resume" if begun else "--force")
    try:
        return Training.model_validate(report)
    except ValidationError:
        raise InputError(f"'{run.recipe.run_folder}' was trained by an earlier kseg: delete that folder") from None


def _take_model(run: SweepRun, trainer: RunScores | None) -> Training:
    """Give a run the model of its trainer; its training is what it was there."""
    if trainer is None:
        raise InputError(f"'{run.trainer}' failed, whose training it shares")
    trained = open_run(run.trainer)
    evaluation = planned_evaluation(run.recipe, trained.load_data_description().label_map.foreground_names)
    recipe = trained.load_recipe().model_copy(update={"name": run.recipe.name, "evaluation": evaluation})
    RunFolder(run.recipe.run_folder).take_model(trained, dump_recipe(recipe))
    return trainer.training


def _shares(jobs: int) -> list[tuple[int, ...]]:
    """Cores of each job: an even share of those that this process has, none (meaning all) for a single job."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InputError(
            f"--jobs {jobs} is more than the {counted(len(cores), 'processor core')}: give each job one at least"
        )
    return [tuple(cores[job::jobs]) for job in range(jobs)]
