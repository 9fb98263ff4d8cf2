"""A training run: model, patches, budget and callbacks brought together."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from statistics import median
from typing import Any

import keras
import tensorflow as tf

from kseg.console.disk_errors import naming, refusal, refusals_told
from kseg.console.errors import InputError
from kseg.console.termination import Termination
from kseg.console.text import first_line
from kseg.nn.networks import trainable_parameters
from kseg.nn.segmenter import Segmenter
from kseg.patches.patch_source import ENDLESS, WHOLE, PatchSource, WorkerShare
from kseg.patches.stopwatch import Stopwatch, python_timestamp
from kseg.recipe.sections import Train
from kseg.records.prepared_case import check_shards
from kseg.runs.history import epochs_to_share, read_history
from kseg.runs.run import Run
from kseg.runs.run_folder import RunFolder
from kseg.training.budget import Budget
from kseg.training.callbacks import make_callbacks
from kseg.training.checkpoints import Checkpoint, in_vain
from kseg.training.display import Display
from kseg.training.start_run import start_run, tell_start
from kseg.training.step_times import StepTimes
from kseg.training.sync_workers import SyncWorkers
from kseg.training.validation_times import ValidationTimes
from kseg.training.volume_calibration import calibrate_volumes, steps_to_calibrate
from kseg.training.workers import Workers, start_workers


def fit(
    run: Run,
    resume: bool,
    workers: Workers | None = None,
    termination: Termination | None = None,
    watch: Callable[[Sequence[keras.callbacks.Callback]], Sequence[keras.callbacks.Callback]] = list,
    least_steps: int = 0,
) -> dict[str, Any]:
    """Train a run through Keras' `fit`; return what came of it, nothing on workers but the chief.

    Args:
        run: what is trained; its dataset has training and validation cases. A run that is not resumed replaces what
            is in its folder, once its model is made.
        resume: go on from the newest checkpoint instead of starting with new weights.
        workers: who trains; by default those that the environment names (`start_workers`).
        termination: whether the run is asked to end before its end.
        watch: is given the callbacks and returns them in the same order, with others between them that only look on;
            `kseg.benchmark` measures so.
        least_steps: how many steps the run's minutes should hold; 0 for any number.

    Raises:
        TooFewSteps: they hold fewer.
        InputError: a shard is damaged, a disk refuses what is to be written, the memory does not hold a step, the
            training has diverged, or see `start_run`.
        MachineError: another worker has ended.
        Stopped: the run was asked to end; `--resume` continues it.
    """
    recipe, options, steps = run.recipe, run.recipe.train, run.recipe.train.steps_per_epoch
    workers, termination = workers or start_workers(), termination or Termination()
    with workers.missed():
        model, state = start_run(run, resume, workers)
        termination.parting_words = "before the first step: go on with --resume"
        tell_start(recipe, model, state, workers)
        sync = SyncWorkers(workers, termination)
    budget = Budget(
        options,
        state.epochs_done,
        state.spent_seconds,
        sync.clock,
        state.steps_done,
        least_steps,
        steps_to_calibrate(recipe, workers.replicas),
    )
    out_of_time = state.epochs_done > 0 and state.steps_done == 0 and budget.progress == 1.0
    nothing_left = out_of_time or in_vain(options.patience, state.epochs_without_gain)
    train = _patches_of(run, "train")
    val = _patches_of(run, "val")
    to_train = range(state.epochs_done * steps + state.steps_done, ENDLESS)
    to_validate = range(-(-options.validation_patches // recipe.patches.batch_size))
    whole_val = val.batches(to_validate).cache()

    def val_batches(share: WorkerShare) -> tf.data.Dataset:
        return whole_val if share == WHOLE else val.batches(to_validate, share).cache()

    stopwatch = Stopwatch(python_timestamp if options.deterministic else tf.timestamp)
    times = StepTimes(stopwatch, state.timing, state.steps_done)
    checkpoint = Checkpoint(run.folder, budget, workers, state)
    display = Display(budget, model.class_names)
    validation_times = ValidationTimes(options, sync.clock)
    callbacks = make_callbacks(
        run, state, workers, sync, times, budget, validation_times, checkpoint, display, whole_val
    )
    with refusals_told("go on with --resume"), naming(run.folder.path):
        try:
            with workers.missed(), closing(display):
                done = model.fit(
                    workers.feed(lambda share: stopwatch.watch(train.batches(to_train, share))),
                    steps_per_epoch=steps,
                    initial_epoch=state.epochs_done,
                    epochs=state.epochs_done if nothing_left else options.epochs,
                    validation_data=workers.feed(val_batches),
                    validation_steps=len(to_validate),
                    validation_freq=validation_times.frequency,
                    callbacks=watch(callbacks),
                    shuffle=False,
                    verbose=0,
                )
            calibration = calibrate_volumes(run, budget, workers.replicas, termination) if workers.is_chief else {}
        except tf.errors.ResourceExhaustedError as error:
            if refusal(error) is not None:  # of a disk, which is told below
                raise
            size = " x ".join(map(str, recipe.patches.size))
            raise InputError(
                f"the memory does not hold a step of {recipe.patches.batch_size} patches of {size} voxels "
                f"({first_line(error)}): train with smaller patches.size, patches.batch_size or network.filters"
            ) from None
        except tf.errors.OpError:
            # A damaged shard is the likely cause, and deserves its name; those to test on are not read.
            check_shards(run.records, run.manifest, ("train", "val"))
            raise
    if not workers.is_chief:
        return {}
    report = _report(run.folder, model, budget, state.epochs_done + len(done.epoch), checkpoint)
    return report | {"volume_calibration": {name: asdict(found) for name, found in calibration.items()}}


def _patches_of(run: Run, split: str) -> PatchSource:
    recipe, scales = run.recipe, run.description.scales
    return PatchSource(run.records, run.manifest, split, recipe.patches, recipe.seed, scales, recipe.augmentation)


def _report(folder: RunFolder, model: Segmenter, budget: Budget, epochs: int, checkpoint: Checkpoint) -> dict[str, Any]:
    curves = read_history(folder.history)
    return {
        "run": str(folder.path),
        "parameters": trainable_parameters(model.network),
        "epochs": epochs,
        "best_val_dice": checkpoint.best_dice,
        "val_dice": checkpoint.kept_dice,
        "epochs_to_90": epochs_to_share(curves, 0.9),
        "alpha": curves["alpha"][-1] if "alpha" in curves else None,
        "step_seconds": median(curves["step_seconds"]),
        "minutes": budget.spent_seconds / 60,
        "steps": budget.steps,
        "ended_by": _ended_by(budget.options, epochs, checkpoint.epochs_without_gain),
    }


def _ended_by(options: Train, epochs: int, epochs_without_gain: int) -> str:
    """Return the key of the section 'train' that ended a run."""
    if in_vain(options.patience, epochs_without_gain):
        return "patience"
    return "epochs" if epochs >= options.epochs else "max_minutes"
