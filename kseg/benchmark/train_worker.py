"""A process of its own that trains as `kseg.train` does, and says where its time went.

Its only argument is a JSON object: `words` (a recipe and changes to it), `threads`, `folder` (where the run goes),
`result` (the file for what was measured, or for the user's mistake), `started` (`time.monotonic()` of the process that
started this one, when it did). What is imported when is as in `kseg.train`.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kseg.benchmark.lap_timer import DATASET, END, IMPORTS, MODEL, LapTimer
from kseg.console.errors import InputError
from kseg.console.tensorflow_start import start_tensorflow
from kseg.recipe.load import load_recipe, split_arguments
from kseg.records.manifest import load_manifest
from kseg.records.staging import staged


def train(words: Sequence[str], threads: int, folder: Path, started: float) -> dict[str, Any]:
    """Train and return seconds by row, of each step and of each validation.

    Raises:
        InputError: see `kseg.training.fit.fit`.
    """
    timer = LapTimer(started)
    has_affinity = hasattr(os, "sched_setaffinity")
    if has_affinity:  # all threads of the process, of whatever library, share the cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    timer.lap(IMPORTS)
    recipe = load_recipe(*split_arguments(words))
    records, manifest = staged(recipe, load_manifest(recipe.records_folder))
    timer.lap(DATASET)

    start_tensorflow()
    import keras
    import tensorflow as tf

    from kseg.benchmark.timed_callbacks import TimeOutsideCallbacks
    from kseg.patches.file_systems import open_file_system
    from kseg.runs.planned_recipe import planned_recipe
    from kseg.runs.run import make_runs, write_report
    from kseg.runs.run_folder import RunFolder
    from kseg.training.fit import fit
    from kseg.training.workers import start_workers

    timer.lap(IMPORTS)
    if not has_affinity:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    workers = start_workers()
    open_file_system(records)
    recipe = planned_recipe(recipe, manifest)
    run = replace(make_runs(recipe, records, manifest, folds=0)[0], folder=RunFolder(folder))
    timer.lap(MODEL)
    outside = TimeOutsideCallbacks(timer)
    report = fit(run, False, workers, watch=outside.around)
    if workers.is_chief:
        write_report(run, report)
    keras.utils.clear_session()
    measured = {
        "step_s": outside.steps,
        "validation_s": outside.validations,
        "waited_s": outside.waited,
        "waited_first_s": outside.waited_first,
        "callbacks_s": outside.by_callback,
        "patch": recipe.patches.size,
        "batch": recipe.patches.batch_size,
    }
    timer.lap(END)
    return measured | {"seconds": timer.seconds, "until": timer.last}


def main(options: dict[str, Any]) -> None:
    """Train, and write what was measured to a file."""
    result = Path(options.pop("result"))
    try:
        measured = train(options["words"], options["threads"], Path(options["folder"]), options["started"])
    except InputError as error:
        measured = {"error": str(error)}
    result.write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
