"""What a person sees of a training run: a bar for the epoch under way, a line for each that is validated."""

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kseg.console.terminal import stderr
from kseg.training.budget import Budget
from kseg.training.validation_times import is_validated

Logs = dict[str, float]


class Display(keras.callbacks.Callback):
    """Shows progress on standard error, and how long the run will take.

    Args:
        budget: knows which share of the run is spent.
        class_names: names of the foreground classes.
    """

    def __init__(self, budget: Budget, class_names: tuple[str, ...]):
        super().__init__()
        self.budget = budget
        self.class_names = class_names
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, loss {task.fields[loss]:.4f}, left"),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            auto_refresh=False,
            disable=not stderr.is_terminal,
        )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Open the epoch's bar."""
        self._task = self._bar.add_task(f"epoch {epoch + 1}", total=self.params["steps"], loss=float("nan"))
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar."""
        self._bar.update(self._task, advance=1, loss=float((logs or {})["loss"]), refresh=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Close the bar and print the epoch's line, if it was validated."""
        self.close()
        if not is_validated(logs):
            return
        logs = logs or {}
        dice = ", ".join(f"{name} {logs[f'val_dice_{name}']:.3f}" for name in self.class_names)
        penalties = f"  alpha {logs['alpha']:.3f}" if "alpha" in logs else ""
        stderr.print(
            f"epoch {epoch + 1:4d}  loss {logs['loss']:.4f}  val loss {logs['val_loss']:.4f}  val Dice "
            f"{logs['val_dice']:.3f} ({dice}){penalties}  {self.budget.progress:4.0%} of the run",
            soft_wrap=True,
        )

    def close(self) -> None:
        """Close the bar and give the terminal its cursor back; also due when training fails."""
        self._bar.stop()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
