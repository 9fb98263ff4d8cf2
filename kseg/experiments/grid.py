"""All cells of a grid, a few side by side; what is finished is not done again."""

import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from kseg.console.errors import InputError
from kseg.experiments.cells import CellScores, finished_scores, origin, scores_from, write_scores
from kseg.experiments.commands import Commands
from kseg.recipe.grid import Cell
from kseg.recipe.sections import Recipe
from kseg.records.manifest import MANIFEST, Manifest, load_manifest, sha256_of
from kseg.training.run_folder import RunFolder


def prepare(path: Path, overrides: Sequence[str], recipe: Recipe) -> Manifest:
    """Prepare the grid's dataset, unless it is there, and return its manifest."""
    folder = recipe.records_folder
    if not (folder / MANIFEST).is_file():
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
    splits = [split for split in ("val", "test") if manifest.of_split(split)]
    origins = {cell.recipe.name: origin(cell, dataset) for cell in cells}
    finished = {cell.recipe.name: finished_scores(cell, origins[cell.recipe.name]) for cell in cells}
    for cell in cells:
        if scores := finished[cell.recipe.name]:
            yield cell, scores
    free_cores: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
    for share in _shares(jobs):
        free_cores.put(share)
    at_work: list[Commands] = []

    def one(cell: Cell) -> CellScores:
        cores = free_cores.get()
        commands = Commands(cell.recipe.run_folder.with_suffix(".log"), cores)
        at_work.append(commands)
        try:
            scores = _train_and_evaluate(commands, path, overrides, cell, splits, origins[cell.recipe.name])
        finally:
            free_cores.put(cores)
        write_scores(cell, scores)
        return scores

    missing = [cell for cell in cells if finished[cell.recipe.name] is None]
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, cell): cell for cell in missing}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, InputError):
                    raise error
                yield futures[future], error if isinstance(error, InputError) else future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for commands in at_work:
                commands.stop()


def _train_and_evaluate(
    commands: Commands, path: Path, overrides: Sequence[str], cell: Cell, splits: Sequence[str], made_from: str
) -> CellScores:
    begun = RunFolder(cell.recipe.run_folder).saved_epochs
    recipe = [str(path), *overrides, *cell.changes]
    trained = commands("train", *recipe, "--resume" if begun else "--force")
    evaluated = {split: commands("evaluate", cell.recipe.name, "--split", split) for split in splits}
    return scores_from(made_from, trained, evaluated)


def _shares(jobs: int) -> list[tuple[int, ...]]:
    """Cores of each job: an even share of those that this process has, none (meaning all) for a single job."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise InputError(f"--jobs {jobs} is more than the {len(cores)} processor cores: give each job one at least")
    return [tuple(cores[job::jobs]) for job in range(jobs)]
