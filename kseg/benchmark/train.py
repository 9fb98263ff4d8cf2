"""`kseg.bench train`: where the minutes of a training go, from the start of its process to its end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from kseg.benchmark.lap_timer import EXIT, FIRST_STEP, FIRST_VALIDATION, ROWS, STEPS, VALIDATIONS
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.termination import exit_on_sigterm
from kseg.console.text import counted
from kseg.recipe.load import load_recipe, split_arguments
from kseg.records.manifest import check_splits, load_manifest
from kseg.records.preparation_keys import check_preparation_keys


def bench_train(words: Sequence[str], threads: Sequence[int]) -> tuple[dict[str, Any], Any]:
    """Train a recipe once on each number of cores; return the report and its table.

    Args:
        words: a recipe and changes to it.
        threads: numbers of cores.

    Raises:
        InputError: the recipe, or its dataset, cannot be trained on.
    """
    recipe = load_recipe(*split_arguments(words))
    manifest = load_manifest(recipe.records_folder)
    check_preparation_keys(recipe, manifest)
    check_splits(manifest, recipe.records_folder)
    if not recipe.train.max_minutes:
        say(f"train.max_minutes=0: trains {counted(recipe.train.epochs, 'epoch')}; train.max_minutes=1 makes it short")
    runs = []
    for number in threads:
        say(f"a training on {counted(number, 'core')}")
        runs.append(measure_training(words, number))
    first = runs[0]
    report = {
        "runs": [{key: value for key, value in one.items() if key not in ("patch", "batch")} for one in runs],
        "patch": first["patch"],
        "batch": first["batch"],
        "max_minutes": recipe.train.max_minutes,
    }
    return report, _table(report)


def measure_training(words: Sequence[str], threads: int) -> dict[str, Any]:
    """Train once, in a process and a temporary folder of its own, and return where its time went.

    Raises:
        InputError: training finds something wrong.
        RuntimeError: the process has died.
    """
    with exit_on_sigterm(), TemporaryDirectory(prefix="kseg-bench-") as place:
        folder, result = Path(place) / "run", Path(place) / "result.json"
        options = {"words": list(words), "threads": threads, "folder": str(folder), "result": str(result)}
        started = time.monotonic()  # of the system, the same in all processes
        command = [sys.executable, "-m", "kseg.benchmark.train_worker", json.dumps(options | {"started": started})]
        environment = os.environ | {"TMPDIR": place}  # TensorFlow has temporary files, too, which a kill would leave
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment) as process:
            try:
                status = process.wait()
            finally:
                process.kill()
        ended = time.monotonic()
        if not result.is_file():
            raise RuntimeError(f"the training that is measured has died with exit status {status}: try smaller patches")
        measured = json.loads(result.read_text(encoding="utf-8"))
    if "error" in measured:
        raise InputError(measured["error"])
    return {"threads": threads} | summarise(measured, started, ended)


def summarise(measured: dict[str, Any], started: float, ended: float) -> dict[str, Any]:
    """Return a training's seconds by row, which add up to the whole, and its steps and patches a minute.

    Args:
        measured: what the process that trained has written (`kseg.benchmark.train_worker`).
        started: `time.monotonic()` when that process was started.
        ended: when it had ended.
    """
    steps, validations, whole = measured["step_s"], measured["validation_s"], ended - started
    seconds = {row: measured["seconds"].get(row, 0.0) for row in ROWS}
    seconds[EXIT] += ended - measured["until"]
    for first, all_of_them, durations in (
        (FIRST_STEP, STEPS, steps),
        (FIRST_VALIDATION, VALIDATIONS, validations),
    ):
        more = first_beyond_others(durations)
        seconds[first] += more
        seconds[all_of_them] -= more
    return {
        "seconds": seconds,
        "whole_s": whole,
        "share_in_steps": seconds[STEPS] / whole,
        "steps": len(steps),
        "median_step_s": median(steps[1:]) if len(steps) > 1 else None,
        "waited_s": measured["waited_s"] - measured["waited_first_s"],
        "waited_first_s": measured["waited_first_s"],
        "validations": len(validations),
        "callbacks_s": measured["callbacks_s"],
        "steps_per_minute": 60 * len(steps) / whole,
        "patches_per_minute": 60 * len(steps) * measured["batch"] / whole,
        "patch": measured["patch"],
        "batch": measured["batch"],
    }


def first_beyond_others(durations: Sequence[float]) -> float:
    """Return how much longer the first took than the median of the others; all of it where there are no others."""
    if not durations:
        return 0.0
    return max(durations[0] - median(durations[1:] or [0.0]), 0.0)


def _table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    patch = " x ".join(map(str, report["patch"]))
    table = Table(title=f"a training from its command's start to its end; patches of {patch} x {report['batch']}")
    table.add_column("")
    runs = report["runs"]
    for one in runs:
        table.add_column(f"{one['threads']} core{'s' if one['threads'] > 1 else ''}, s", justify="right")
        table.add_column("share", justify="right")
    for row, title in ROWS.items():
        cells = [(one["seconds"][row], one["whole_s"]) for one in runs]
        table.add_row(title, *_seconds_and_shares(cells), style="bold" if row == STEPS else None)
        if row == STEPS:
            waited = [(one["waited_s"], one["whole_s"]) for one in runs]
            table.add_row("  of it waiting for patches", *_seconds_and_shares(waited))
    table.add_section()
    table.add_row("the whole", *_seconds_and_shares([(one["whole_s"], one["whole_s"]) for one in runs]), style="bold")
    table.add_section()
    for title, key, shape in (
        ("steps", "steps", "d"),
        ("median of a step but the first, s", "median_step_s", ".3g"),
        ("steps a minute of the whole", "steps_per_minute", ".1f"),
        ("patches a minute of the whole", "patches_per_minute", ".1f"),
        ("validations", "validations", "d"),
    ):
        table.add_row(title, *(cell for one in runs for cell in (_text(one[key], shape), "")))
    return table


def _seconds_and_shares(cells: Sequence[tuple[float, float]]) -> list[str]:
    return [text for seconds, whole in cells for text in (f"{seconds:.2f}", f"{seconds / whole:.1%}")]


def _text(number: float | None, shape: str) -> str:
    return "-" if number is None else format(number, shape)
