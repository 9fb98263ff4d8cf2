"""Checkpoints: written whole after each epoch, the last two kept, the newest sound one resumed."""

import shutil
from typing import TYPE_CHECKING

import keras
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from kseg.console.command import say
from kseg.console.errors import InputError
from kseg.console.files import whole_file, whole_folder
from kseg.training.averaging import averaged_weights
from kseg.training.run_folder import Contract, RunFolder, load_segmenter
from kseg.training.schedule import Budget

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter

KEPT = 2
MODEL, STATE = "model.keras", "state.json"


class State(BaseModel):
    """Where a run stands, beside its weights and its optimiser's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs_done: NonNegativeInt = 0
    spent_seconds: NonNegativeFloat = 0.0
    best_dice: float = -1.0


class Checkpoint(keras.callbacks.Callback):
    """After each epoch keeps the best model by validation Dice, and a checkpoint of the whole run.

    Args:
        folder: the run's folder.
        budget: knows how much time is spent.
        best_dice: the best validation Dice so far.
    """

    def __init__(self, folder: RunFolder, budget: Budget, best_dice: float = -1.0):
        super().__init__()
        self.folder = folder
        self.budget = budget
        self.best_dice = best_dice

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write what is new."""
        dice = float((logs or {})["val_dice"])
        if dice > self.best_dice:
            self.best_dice = dice
            with averaged_weights(self.model), whole_file(self.folder.model) as path:
                self.model.save(path)
        state = State(epochs_done=epoch + 1, spent_seconds=self.budget.spent_seconds, best_dice=self.best_dice)
        with whole_folder(self.folder.checkpoints / f"epoch-{epoch + 1:06d}") as path:
            self.model.save(path / MODEL)
            (path / STATE).write_text(state.model_dump_json(), encoding="utf-8")
        for old in self.folder.saved_epochs[:-KEPT]:
            shutil.rmtree(old)


def load_checkpoint(folder: RunFolder, contract: Contract) -> "tuple[Segmenter, State]":
    """Return the newest checkpoint that can be read; a damaged one is named and passed over.

    Raises:
        InputError: there is none.
    """
    for path in reversed(folder.saved_epochs):
        try:
            state = State.model_validate_json((path / STATE).read_bytes())
            return load_segmenter(path / MODEL, contract, compiled=True), state
        except (InputError, ValidationError, OSError) as error:
            say(f"checkpoint '{path}' is damaged, trying the one before: {str(error).splitlines()[0]}")
    raise InputError(f"run '{folder.path}' has no sound checkpoint to go on from: start it anew with --force")
