"""Segmenting: what each form of a run's model costs on the same windows of a volume, side by side."""

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from kseg.benchmark.step import start_worker
from kseg.console.errors import InputError
from kseg.console.progress import progress
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of

KERAS, SAVED_MODEL, ONNX, ENGINE = "keras", "savedmodel", "onnx", "engine"


@dataclass(frozen=True)
class Task:
    """A volume `(x, y, z)` of noise in the windows of the run's recipe, with so many threads."""

    run: RunFolder
    shape: tuple[int, int, int]
    threads: int


def find_sides(run: RunFolder) -> tuple[list[str], dict[str, str]]:
    """Return the forms of a run's model that can run here, and for each of the others why it cannot."""
    checks = {KERAS: _keras, SAVED_MODEL: _saved_model, ONNX: _onnx, ENGINE: _engine}
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
        raise InputError(f"run '{run.path}' has no SavedModel: python -m kseg.export {run.path} writes one")
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
        raise InputError(f"'{run.onnx}' is missing: python -m kseg.export {run.path} --format onnx writes it")
    require_onnx()
    if keras_model_hash(run.onnx) != sha256_of(run.model):
        raise InputError(f"'{run.onnx}' is of another model: python -m kseg.export {run.path} --format onnx")


def _engine(run: RunFolder) -> None:
    from kseg.deployment.engine_file import check_machine, load_description, this_machine

    check_machine(load_description(run), this_machine(), run)
