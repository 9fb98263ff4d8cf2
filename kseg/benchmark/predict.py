"""`kseg.bench predict`: what each form of a run's model costs on the same windows of a volume, side by side."""

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from kseg.benchmark.worker_process import start_worker
from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.terminal import progress
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.files import sha256_of

KERAS, SAVED_MODEL, ONNX, ENGINE, RTX = "keras", "savedmodel", "onnx", "engine", "rtx"
NAMES = {
    KERAS: "Keras",
    SAVED_MODEL: "SavedModel",
    ONNX: "ONNX Runtime",
    ENGINE: "TensorRT engine",
    RTX: "TensorRT for RTX engine",
}


@dataclass(frozen=True)
class Task:
    """A volume `(x, y, z)` of noise in the windows of the run's recipe, with so many threads."""

    run: RunFolder
    shape: tuple[int, int, int]
    threads: int


def bench_predict(run: str, shape: Sequence[int] | None, threads: int, repeats: int) -> tuple[dict[str, Any], Any]:
    """Measure the forms of a run's model on a volume; return the report and its table.

    Args:
        run: name or folder.
        shape: of the volume; 1.5 patches along each axis where it is None.
        threads: of each side.
        repeats: measured runs of each side.

    Raises:
        InputError: there is no such run.
    """
    folder = open_run(run)
    recipe = folder.load_recipe()
    x, y, z = shape or (length * 3 // 2 for length in recipe.patches.size)
    sides, missing = find_sides(folder)
    for reason in missing.values():
        say(f"left out: {reason}")
    say(f"a volume of {x} x {y} x {z} voxels; the sides take turns: {', '.join(sides)}")
    report = measure_predicting(Task(folder, (x, y, z), threads), sides, repeats)
    report |= {
        "run": str(folder.path),
        "shape": (x, y, z),
        "patch": recipe.patches.size,
        "batch": recipe.evaluation.batch_size,
        "overlap": recipe.evaluation.overlap,
        "threads": threads,
        "left_out": missing,
    }
    return report, _table(report)


def find_sides(run: RunFolder) -> tuple[list[str], dict[str, str]]:
    """Return the forms of a run's model that can run here, and for each of the others why it cannot."""
    checks = {KERAS: _keras, SAVED_MODEL: _saved_model, ONNX: _onnx, ENGINE: _engine, RTX: _rtx}
    missing: dict[str, str] = {}
    for side, check in checks.items():
        try:
            check(run)
        except InputError as error:
            missing[side] = str(error)
    return [side for side in checks if side not in missing], missing


def latest_saved_model(run: RunFolder) -> str:
    """Return the folder of the run's latest SavedModel.

    Raises:
        InputError: it has none.
    """
    if not run.saved_models:
        raise InputError(f"run '{run.path}' has no SavedModel: {command_line('export')} {run.path} writes one")
    return str(run.saved_models[-1])


def measure_predicting(task: Task, sides: Sequence[str], repeats: int) -> dict[str, Any]:
    """Return seconds for a million voxels and the peak memory of each side, each in a process of its own.

    The sides take turns; a time is the median of `repeats` runs over the whole volume, after one that is not counted.
    Memory is that of the process, without a GPU's.
    """
    times: dict[str, list[float]] = {side: [] for side in sides}
    with ExitStack() as stack:
        workers = {}
        for side in sides:
            options = {"side": side, "run": str(task.run.path), "shape": task.shape, "threads": task.threads}
            command = [sys.executable, "-m", "kseg.benchmark.predict_worker", json.dumps(options)]
            workers[side] = stack.enter_context(start_worker(command))
        for number in progress(range(repeats + 1), "segmenting"):
            for side, worker in workers.items():
                seconds = worker.ask("segment")
                if number > 0:
                    times[side].append(seconds)
        windows = {side: worker.ask("windows") for side, worker in workers.items()}
        peaks = {side: worker.ask("peak") for side, worker in workers.items()}
    x, y, z = task.shape
    return {
        "seconds_per_million_voxels": {
            side: statistics.median(runs) / (x * y * z / 1e6) for side, runs in times.items()
        },
        "peak_bytes": peaks,
        "windows": windows[KERAS],
    }


def _keras(run: RunFolder) -> None:
    pass


def _saved_model(run: RunFolder) -> None:
    latest_saved_model(run)


def _onnx(run: RunFolder) -> None:
    from kseg.deployment.onnx_file import keras_model_hash, require_onnx

    if not run.onnx.is_file():
        raise InputError(f"'{run.onnx}' is missing: {command_line('export')} {run.path} --format onnx writes it")
    require_onnx()
    if keras_model_hash(run.onnx) != sha256_of(run.model):
        raise InputError(f"'{run.onnx}' is of another model: {command_line('export')} {run.path} --format onnx")


def _engine(run: RunFolder) -> None:
    from kseg.deployment.engine_description import TensorRTDescription, check_runs_here

    check_runs_here(TensorRTDescription, run)


def _rtx(run: RunFolder) -> None:
    from kseg.deployment.engine_description import RtxDescription, check_runs_here

    check_runs_here(RtxDescription, run)


def _table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    shape, patch = (" x ".join(map(str, report[key])) for key in ("shape", "patch"))
    table = Table(
        title=f"{shape} voxels in {report['windows']} windows of {patch}, {report['batch']} at once, "
        f"{report['threads']} threads"
    )
    for heading in ("", "s for 10^6 voxels", "times Keras'", "peak memory, GB"):
        table.add_column(heading, justify="right" if heading else "left")
    took = report["seconds_per_million_voxels"]
    for side, seconds in took.items():
        peak = report["peak_bytes"][side] / 1e9
        table.add_row(NAMES[side], f"{seconds:.3g}", f"{seconds / took[KERAS]:.2f}", f"{peak:.2f}")
    return table
