"""All cells of a grid, a few side by side; what is finished is not done again."""

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pydantic import ValidationError

from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.experiments.cells import FINISHED, CellScores, Training, finished_scores, origin, scores_from, write_scores
from kseg.experiments.commands import Commands
from kseg.recipe.grid import Cell
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.recipe.splits import EVALUATED
from kseg.records.manifest import MANIFEST, Manifest, is_prepared, load_manifest
from kseg.runs.run_files import NAME_ANOTHER, RECIPE_FILE, RUN
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.disk import check_writable
from kseg.storage.files import sha256_of
from kseg.storage.locations import Location
from kseg.storage.ownership import Kind, check_replaceable, claim


def _was_a_grid(folder: Location) -> bool:
    """Whether a folder without a marker has runs where a grid of an earlier version had them."""
    return any(folder.glob(f"*/seed-*/{RECIPE_FILE}"))


GRID = Kind("grid", (), NAME_ANOTHER, _was_a_grid)
"""Nothing replaces a grid as a whole, so its table is empty."""


def claim_folders(recipe: Recipe, cells: Sequence[Cell]) -> None:
    """Make the grid's folder, or take it up, and see to it that each run has its place there.

    Raises:
        InputError: something else is in the place of the grid or of a run, or the disk takes no files there.
    """
    folder = recipe.run_folder
    check_writable(folder if folder.is_dir() else folder.parent)
    claim(folder, GRID)
    for cell in cells:
        run = RunFolder(cell.recipe.run_folder)
        if not run.saved_checkpoints and not (run.path / FINISHED).is_file():
            check_replaceable(run.path, RUN)


def prepare(path: Path, overrides: Sequence[str], recipe: Recipe) -> Manifest:
    """Prepare the grid's dataset, unless it is there, and return its manifest."""
    folder = recipe.records_folder
    if not is_prepared(folder):
        Commands(recipe.run_folder / "prepare.log")("prepare", str(path), *overrides)
    return load_manifest(folder)


def run_cells(
    path: Path, overrides: Sequence[str], cells: Sequence[Cell], manifest: Manifest, jobs: int
) -> Iterator[tuple[Cell, CellScores | InputError]]:
    """Train and evaluate every cell that is not finished; yield each cell with its scores, or with what went wrong.

    Args:
        path: the recipe.
        overrides: changes to all cells.
        cells: of the grid.
        manifest: of the prepared dataset.
        jobs: cells side by side; they share the processor's cores evenly.

    Raises:
        InputError: a finished cell was made from another recipe or dataset.
    """
    dataset = sha256_of(cells[0].recipe.records_folder / MANIFEST)
    splits: list[str] = [split for split in EVALUATED if manifest.of_split(split)]
    origins = {cell.recipe.name: origin(cell, dataset) for cell in cells}
    finished = {cell.recipe.name: finished_scores(cell, origins[cell.recipe.name]) for cell in cells}
    for cell in cells:
        if scores := finished[cell.recipe.name]:
            yield cell, scores
    free_cores: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
    for share in _shares(jobs):
        free_cores.put(share)
    at_work: list[Commands] = []

    def attempt(cell: Cell, cores: tuple[int, ...]) -> CellScores | InputError:
        name = cell.recipe.name
        commands = Commands(cell.recipe.run_folder.with_suffix(".log"), cores)
        at_work.append(commands)
        try:
            with refusals_told():
                own = name == cell.trainer
                trained = _train(commands, path, overrides, cell) if own else _take_model(cell, finished[cell.trainer])
                evaluated = {split: commands("evaluate", name, "--split", split) for split in splits}
                scores = scores_from(origins[name], trained, evaluated)
                write_scores(cell, scores)
        except InputError as error:
            return error
        finished[name] = scores
        return scores

    def share_training(sharing: Sequence[Cell]) -> list[tuple[Cell, CellScores | InputError]]:
        cores = free_cores.get()
        try:
            return [(cell, attempt(cell, cores)) for cell in sharing]
        finally:
            free_cores.put(cores)

    missing: dict[str, list[Cell]] = {}
    for cell in cells:  # a trainer comes before those that share its training
        if finished[cell.recipe.name] is None:
            missing.setdefault(cell.trainer, []).append(cell)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(share_training, sharing) for sharing in missing.values()]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for commands in at_work:
                commands.stop()


def _train(commands: Commands, path: Path, overrides: Sequence[str], cell: Cell) -> Training:
    begun = RunFolder(cell.recipe.run_folder).saved_checkpoints
    report = commands("train", str(path), *overrides, *cell.changes, "--resume" if begun else "--force")
    try:
        return Training.model_validate(report)
    except ValidationError:
        raise InputError(f"'{cell.recipe.run_folder}' was trained by an earlier kseg: delete that folder") from None


def _take_model(cell: Cell, trainer: CellScores | None) -> Training:
    """Give a run the model of its trainer; its training is what it was there."""
    if trainer is None:
        raise InputError(f"'{cell.trainer}' failed, whose training it shares")
    trained = open_run(cell.trainer)
    recipe = trained.load_recipe().model_copy(update={"name": cell.recipe.name, "evaluation": cell.recipe.evaluation})
    RunFolder(cell.recipe.run_folder).take_model(trained, dump_recipe(recipe))
    return trainer.training


def _shares(jobs: int) -> list[tuple[int, ...]]:
    """Cores of each job: an even share of those that this process has, none (meaning all) for a single job."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InputError(f"--jobs {jobs} is more than the {len(cores)} processor cores: give each job one at least")
    return [tuple(cores[job::jobs]) for job in range(jobs)]
