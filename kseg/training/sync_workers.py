"""What all workers must decide alike: the time that is spent, and whether the run is to end."""

import time

import keras

from kseg.console.termination import Termination
from kseg.training.workers import Workers


class SyncWorkers(keras.callbacks.Callback):
    """The chief's clock, and whether one of the workers is asked to end: the same on all, read at the same places.

    It must come first in the list of callbacks.

    Args:
        workers: who trains.
        termination: of this process.
    """

    def __init__(self, workers: Workers, termination: Termination):
        super().__init__()
        self.workers = workers
        self.termination = termination
        self._sync()

    def clock(self) -> float:
        """Return `time.monotonic()`, the chief's where there are several workers, when last agreed upon."""
        return self._now if self.workers.count > 1 else time.monotonic()

    @property
    def ends(self) -> bool:
        """Whether the run is to end here."""
        return self._ends if self.workers.count > 1 else self.termination.asked

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Synchronise."""
        self._sync()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Synchronise."""
        self._sync()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Synchronise."""
        self._sync()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Synchronise."""
        self._sync()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Synchronise."""
        self._sync()

    def _sync(self) -> None:
        now = time.monotonic() if self.workers.is_chief else 0.0
        self._now, asked = self.workers.sums([now, float(self.termination.asked)])
        self._ends = asked > 0
