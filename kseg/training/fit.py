"""A training run: model, patches, budget and callbacks brought together."""

import time
from statistics import median
from typing import Any

import keras
import tensorflow as tf

from kseg.console.disk_errors import naming, refusals_told
from kseg.console.termination import Termination
from kseg.nn.networks import trainable_parameters
from kseg.nn.segmenter import Segmenter
from kseg.patches.patch_source import ENDLESS, WHOLE, PatchSource, Share
from kseg.patches.stopwatch import Stopwatch, python_timestamp
from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest
from kseg.records.read import check_shards
from kseg.runs.data_description import DataDescription
from kseg.runs.run_folder import RunFolder
from kseg.storage.locations import Location
from kseg.training.averaging import ValidateAverage
from kseg.training.checkpoints import Checkpoint, in_vain
from kseg.training.display import Display
from kseg.training.history import epochs_to_share, read_history
from kseg.training.penalty_monitor import PenaltyMonitor
from kseg.training.resume_within_epoch import ResumeWithinEpoch
from kseg.training.schedule import Budget
from kseg.training.start import start_run, tell_beginning
from kseg.training.step_times import StepTimes
from kseg.training.stop_on_signal import StopOnSignal
from kseg.training.sync_workers import SyncWorkers
from kseg.training.tensorboard_summaries import TensorBoardSummaries
from kseg.training.workers import Workers, start_workers


def fit(
    recipe: Recipe,
    records: Location,
    manifest: Manifest,
    folder: RunFolder,
    description: DataDescription,
    resume: bool,
    began: float,
    workers: Workers | None = None,
    termination: Termination | None = None,
) -> dict[str, Any]:
    """Train the recipe's model through Keras' `fit`; return what came of it, nothing on workers but the chief.

    Args:
        recipe: all choices.
        records: folder of the shards, which TensorFlow can read (`kseg.patches.file_systems`).
        manifest: of the dataset; it has training and validation cases.
        folder: of the run; a run that is not resumed replaces what is there, once its model is made.
        description: channels and labels of the dataset.
        resume: go on from the newest checkpoint instead of starting with new weights.
        began: `time.monotonic()` when the command began; the time budget counts from there.
        workers: who trains; by default those that the environment names (`start_workers`).
        termination: whether the run is asked to end before its end.

    Raises:
        InputError: a shard is damaged, a disk refuses what is to be written, or see `start_run`.
        MachineError: another worker has ended.
        Stopped: the run was asked to end, and can be gone on with.
    """
    options, steps = recipe.train, recipe.train.steps_per_epoch
    workers, termination = workers or start_workers(), termination or Termination()
    with workers.missed():
        model, state = start_run(recipe, folder, description, resume, workers)
        termination.parting_words = "before the first step: go on with --resume"
        tell_beginning(recipe, model, state, workers)
        sync = SyncWorkers(workers, termination)
        spent = state.spent_seconds + workers.from_chief(time.monotonic() - began)
    budget = Budget(options, state.epochs_done, spent, sync.clock)
    out_of_time = state.epochs_done > 0 and state.steps_done == 0 and budget.progress == 1.0
    nothing_left = out_of_time or in_vain(options.patience, state.epochs_without_gain)
    train = PatchSource(
        records, manifest, "train", recipe.patches, recipe.seed, description.scales, recipe.augmentation
    )
    val = PatchSource(records, manifest, "val", recipe.patches, recipe.seed, description.scales)
    to_train = range(state.epochs_done * steps + state.steps_done, ENDLESS)
    to_validate = range(-(-options.validation_patches // recipe.patches.batch_size))
    whole_val = val.batches(to_validate).cache()

    def val_batches(share: Share) -> tf.data.Dataset:
        return whole_val if share == WHOLE else val.batches(to_validate, share).cache()

    stopwatch = Stopwatch(python_timestamp if options.deterministic else tf.timestamp)
    times = StepTimes(stopwatch, state.timing, state.steps_done)
    checkpoint = Checkpoint(folder, budget, workers, state, options.patience)
    display = Display(budget, model.class_names)
    looks: list[keras.callbacks.Callback] = []
    logs: list[keras.callbacks.Callback] = []
    if workers.is_chief:
        spacing_mm, names, curves = manifest.plan.target_spacing_mm, model.class_names, folder.precision_recall
        board = TensorBoardSummaries(
            recipe, folder.logs, curves, budget, whole_val, names, spacing_mm, lambda: sync.ends
        )
        looks = [board]
        logs = [
            keras.callbacks.TensorBoard(folder.logs, write_graph=False),
            keras.callbacks.CSVLogger(folder.history, append=True),
        ]
    with refusals_told("go on with --resume"), naming(folder.path):
        try:
            with workers.missed():
                done = model.fit(
                    workers.feed(lambda share: stopwatch.watch(train.batches(to_train, share))),
                    steps_per_epoch=steps,
                    initial_epoch=state.epochs_done,
                    epochs=state.epochs_done if nothing_left else options.epochs,
                    validation_data=workers.feed(val_batches),
                    validation_steps=len(to_validate),
                    callbacks=[
                        sync,
                        ResumeWithinEpoch(state),
                        times,
                        *looks,
                        budget,
                        *logs,
                        checkpoint,
                        *([display, PenaltyMonitor()] if workers.is_chief else []),
                        ValidateAverage(),
                        StopOnSignal(sync, checkpoint, times, state.steps_done),
                    ],
                    shuffle=False,
                    verbose=0,
                )
        except tf.errors.OpError:
            check_shards(records, manifest)  # a damaged shard is the likely cause, and deserves its name
            raise
        finally:
            display.close()
    if not workers.is_chief:
        return {}
    return _report(folder, model, budget, state.epochs_done + len(done.epoch), checkpoint.best_dice)


def _report(folder: RunFolder, model: Segmenter, budget: Budget, epochs: int, best_dice: float) -> dict[str, Any]:
    curves = read_history(folder.history)
    return {
        "run": str(folder.path),
        "parameters": trainable_parameters(model.network),
        "epochs": epochs,
        "best_val_dice": best_dice,
        "epochs_to_90": epochs_to_share(curves["val_dice"], 0.9),
        "alpha": curves["alpha"][-1] if "alpha" in curves else None,
        "step_seconds": median(curves["step_seconds"]),
        "minutes": budget.spent_seconds / 60,
    }
