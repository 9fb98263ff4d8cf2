"""What a person sees of a training run: that it compiles, how far it is, a line for each epoch that is validated."""

import threading
import time

import keras
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from kseg.console.terminal import EVERY, Bar, Pace, stderr
from kseg.console.text import duration
from kseg.training.budget import Budget
from kseg.training.validation_times import is_validated

Logs = dict[str, float]


class Display(keras.callbacks.Callback):
    """Shows progress on standard error: a bar on a terminal, elsewhere a line each half minute.

    Args:
        budget: knows which share of the run is spent.
        class_names: names of the foreground classes.
    """

    def __init__(self, budget: Budget, class_names: tuple[str, ...]):
        super().__init__()
        self.budget = budget
        self.class_names = class_names
        self._validated = ""
        self._compiling: _Compiling | None = None
        self._pace = Pace()
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[now]}, left in the epoch"),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Open the epoch's bar; the run's first step takes longer than the others."""
        self._epoch = epoch + 1
        if not (self._compiling or self.budget.has_compiled):
            self._compiling = _Compiling()
        now = "compiling" if self._compiling else "begun"
        self._task = self._bar.add_task(f"epoch {self._epoch}", total=self.params["steps"], now=now)
        self._bar.start()
        self._bar.refresh()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar, or tell how far the run is."""
        if self._compiling:
            if not self.budget.has_compiled:  # a step that an earlier command has done
                return
            self._compiling.end()
            self._compiling = None
            self._pace.told()
        now = f"loss {float((logs or {})['loss']):.4f}{self._validated}, {self._progress()}"
        self._bar.update(self._task, completed=batch + 1, now=now, refresh=True)
        if self._pace.is_due:
            stderr.print(f"epoch {self._epoch:4d}  step {batch + 1} of {self.params['steps']}, {now}", soft_wrap=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Close the bar and print the epoch's line, if it was validated."""
        self.close()
        if not is_validated(logs):
            return
        self._pace.told()
        logs = logs or {}
        self._validated = f", val Dice {logs['val_dice']:.3f} after epoch {epoch + 1}"
        dice = ", ".join(f"{name} {logs[f'val_dice_{name}']:.3f}" for name in self.class_names)
        penalties = f"  alpha {logs['alpha']:.3f}" if "alpha" in logs else ""
        stderr.print(
            f"epoch {epoch + 1:4d}  loss {logs['loss']:.4f}  val loss {logs['val_loss']:.4f}  val Dice "
            f"{logs['val_dice']:.3f} ({dice}){penalties}  {self._progress()}",
            soft_wrap=True,
        )

    def _progress(self) -> str:
        """How far the run is, and how long it still takes."""
        left = self.budget.left_seconds
        return f"{self.budget.progress:.0%} of the run" + ("" if left is None else f", {duration(left)} left")

    def close(self) -> None:
        """Close the bar and give the terminal its cursor back; also due when training fails."""
        if self._compiling:
            self._compiling.stop()
        self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)


class _Compiling:
    """Says that TensorFlow compiles the first step, and in a file each half minute that it still does."""

    def __init__(self) -> None:
        stderr.print("compiling the first step: a minute or two, which train.max_minutes does not count")
        self._began = time.monotonic()
        self._ended = threading.Event()
        if not stderr.is_terminal:
            threading.Thread(target=self._tell, daemon=True).start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def end(self) -> None:
        self.stop()
        stderr.print(f"compiled in {self.seconds:.0f} s")

    def stop(self) -> None:
        self._ended.set()

    def _tell(self) -> None:
        while not self._ended.wait(EVERY):
            stderr.print(f"compiling since {self.seconds:.0f} s")
