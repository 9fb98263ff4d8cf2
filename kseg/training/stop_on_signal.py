"""How a run ends that the system asks to end (SIGTERM): with a checkpoint, from which it can be resumed."""

from typing import NoReturn

import keras

from kseg.training.checkpoints import Checkpoint, Values, values_of
from kseg.training.step_times import StepTimes
from kseg.training.sync_workers import SyncWorkers
from kseg.training.validation_times import is_validated


class Stopped(Exception):
    """Training ended before its end, with a checkpoint; the message says where."""


class StopOnSignal(keras.callbacks.Callback):
    """Ends a run that is asked to: after the step or the validation batch under way, with a checkpoint.

    It must come last in the list of callbacks, after `ValidateAveragedWeights`: the weights are then the trained ones.

    Args:
        sync: says when.
        checkpoint: writes.
        times: of the epoch's steps.
        steps_done: steps of the first epoch that an earlier command has made.
    """

    def __init__(self, sync: SyncWorkers, checkpoint: Checkpoint, times: StepTimes, steps_done: int = 0):
        super().__init__()
        self.sync = sync
        self.checkpoint = checkpoint
        self.times = times
        self._steps_done = steps_done
        self._metrics: Values = ()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is."""
        self._epoch, self._steps = epoch, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """End, with what the epoch has counted so far; steps that are passed over are not within one."""
        self._steps = batch + 1
        if self._steps >= self._steps_done and self.sync.ends:
            self._end(self._counted())
        self.sync.termination.parting_words = None  # from now on there is something to save

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Remember what the training steps have counted, for validation counts anew."""
        self._metrics = self._counted()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Leave the validation."""
        if self.sync.ends:
            self.model.stop_evaluating = True

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """End as before the validation, which is to be made again."""
        if self.sync.ends:
            self._end(self._metrics)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """End between epochs, with a checkpoint; one that was validated has it already."""
        self._steps_done = 0
        if self.sync.ends:
            if not is_validated(logs):
                self.checkpoint.write()
            raise Stopped(f"after epoch {epoch + 1}")

    def _counted(self) -> Values:
        return values_of(self.model.metrics_variables)

    def _end(self, metrics: Values) -> NoReturn:
        self.checkpoint.write(self._steps, metrics, self.times.timing)
        raise Stopped(f"after step {self._steps} of epoch {self._epoch + 1}")
