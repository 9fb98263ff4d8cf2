"""The callbacks of a training, made and put in order in one place."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kseg.runs.run import Run
from kseg.training.averaged_weights import ValidateAveragedWeights
from kseg.training.budget import Budget
from kseg.training.checkpoints import Checkpoint, State
from kseg.training.display import Display
from kseg.training.finite_weights import FiniteWeights
from kseg.training.penalty_monitor import PenaltyMonitor
from kseg.training.resume_within_epoch import ResumeWithinEpoch
from kseg.training.step_times import StepTimes
from kseg.training.stop_on_signal import StopOnSignal
from kseg.training.sync_workers import SyncWorkers
from kseg.training.tensorboard_curves import TensorBoardCurves
from kseg.training.tensorboard_summaries import TensorBoardSummaries
from kseg.training.validation_times import ValidationTimes, is_validated
from kseg.training.workers import Workers


class HistoryWriter(keras.callbacks.CSVLogger):
    """Writes a row of `history.csv` for each epoch that is validated (`kseg.runs.history`)."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the row."""
        if is_validated(logs):
            super().on_epoch_end(epoch, logs)


def make_callbacks(
    run: Run,
    state: State,
    workers: Workers,
    sync: SyncWorkers,
    times: StepTimes,
    budget: Budget,
    validation_times: ValidationTimes,
    checkpoint: Checkpoint,
    display: Display,
    validation_patches: tf.data.Dataset,
) -> Sequence[keras.callbacks.Callback]:
    """Return all callbacks of a run in the order in which Keras is to call them.

    Keras calls each hook (`on_epoch_end`, ...) of all callbacks in the order of the list. It matters:

    1. `SyncWorkers`: the others ask it what time it is and whether the run is to end.
    2. `ResumeWithinEpoch` restores what the epoch under way had counted before anything is counted; `FiniteWeights`
       ends a run that has diverged before anything of it is drawn, written or kept.
    3. `StepTimes` puts its figures into the epoch's logs before these are written.
    4. `Budget` comes next, so that a validation's time is without the look, and each is counted apart.
    5. `TensorBoardSummaries` looks at the end of a validation, when the averaged weights are still in place.
    6. `TensorBoardCurves` and `HistoryWriter` write an epoch's logs before its checkpoint says that the epoch is done:
       a row without a checkpoint is cut when the run goes on, a checkpoint without its row would leave a gap.
    7. `Checkpoint` writes the trained weights; validation has put them back.
    8. `Display` and `PenaltyMonitor` tell of an epoch once all of it is on disk.
    9. `ValidateAveragedWeights` puts the trained weights back after all that wanted the averaged ones.
    10. `StopOnSignal` comes last: what it saves within an epoch are the trained weights.

    Args:
        run: what is trained.
        state: where it stands.
        workers: who trains; the chief alone writes and shows.
        sync: see 1.
        times: see 3.
        budget: see 4.
        validation_times: counts what a validation, and all that follows it, costs.
        checkpoint: see 7.
        display: see 8.
        validation_patches: batches of image `(batch, x, y, z, channels)` and labels `(batch, x, y, z)`.
    """
    summaries: list[keras.callbacks.Callback] = []
    logs: list[keras.callbacks.Callback] = []
    shown: list[keras.callbacks.Callback] = []
    if workers.is_chief:
        looked_at = validation_patches
        if workers.replicas > 1:  # one device looks alone, and holds no more at once than in a step
            looked_at = looked_at.unbatch().batch(run.recipe.patches.batch_size // workers.replicas)
        summaries = [TensorBoardSummaries(run, budget, looked_at, lambda: sync.ends)]
        logs = [
            TensorBoardCurves(run.folder.logs),
            HistoryWriter(run.folder.history, append=True),
        ]
        shown = [display, PenaltyMonitor()]
    return [
        sync,
        ResumeWithinEpoch(state),
        FiniteWeights(),
        times,
        validation_times,
        budget,
        *summaries,
        *logs,
        checkpoint,
        *shown,
        ValidateAveragedWeights(),
        StopOnSignal(sync, checkpoint, times, state.steps_done),
    ]
