"""Checkpoints: written whole after each validation and when a run is stopped, two kept, the newest sound one resumed.

One holds Keras' model file, which has weights, learned penalties and optimiser, and beside it all else that a run needs
to go on as if nothing had happened.
"""

import errno
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

import kseg.training.optimizer  # noqa: F401 - registers the optimisers that checkpoints hold
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import first_line
from kseg.console.validation_errors import first_invalid
from kseg.runs.data_description import DataDescription
from kseg.runs.model_file import load_segmenter
from kseg.runs.owned_files import CHECKPOINT, CHECKPOINT_FILES
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import sha256_of, whole_file, whole_folder
from kseg.storage.ownership import remove
from kseg.training.averaged_weights import averaged_weights
from kseg.training.budget import Budget
from kseg.training.finite_weights import check_finite
from kseg.training.step_times import Timing
from kseg.training.validation_times import is_validated
from kseg.training.workers import Workers

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter

KEPT = 2
NOISE = 0.02
"""Of a validation Dice, over the usual sixteen patches: a difference that says nothing of whole scans."""
NO_STEPS = Timing()
MODEL, STATE, CHECKSUMS = CHECKPOINT_FILES

Values = tuple[tuple[float, ...], ...]
"""Of several variables, each in one row."""


class State(BaseModel):
    """Where a run stands, beside its weights and its optimiser's."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    epochs_done: NonNegativeInt = 0
    steps_done: NonNegativeInt = 0
    """Of the epoch under way, where the run was stopped within one; all of them while it was validated."""
    spent_seconds: NonNegativeFloat = 0.0
    best_dice: float = -1.0
    kept_dice: float = -1.0
    """Of the model that is kept; -1 where an earlier version wrote the checkpoint."""
    epochs_without_gain: NonNegativeInt = 0
    """Validations since the best one."""
    seeds: Values = ()
    """Of the layers that draw random numbers, which Keras does not save."""
    metrics: Values = ()
    """What is counted of the epoch under way; empty between epochs."""
    timing: Timing = NO_STEPS
    """Of the steps of the epoch under way."""


class Checkpoint(keras.callbacks.Callback):
    """After each epoch that is validated keeps the model, unless it has become worse, and a checkpoint.

    Few patches validate: the best of several such Dice scores is the luckiest, and an early one, while weights get
    better until the learning rate has come to its end. So the newest model is kept whose Dice is within `NOISE` of the
    best; with a constant rate, the best. It ends a run that gains no more.

    Args:
        folder: the run's folder, in which the chief alone writes.
        budget: knows how much time is spent, the `patience`, and how the learning rate falls.
        workers: who trains.
        state: where the run stands when it begins, or goes on.
    """

    def __init__(self, folder: RunFolder, budget: Budget, workers: Workers, state: State):
        super().__init__()
        self.folder = folder
        self.budget = budget
        self.workers = workers
        self.patience = budget.options.patience
        self.noise = 0.0 if budget.options.schedule == "constant" else NOISE
        self.best_dice = state.best_dice
        self.kept_dice = state.best_dice if state.kept_dice < 0 else state.kept_dice
        self.epochs_without_gain = state.epochs_without_gain
        self._epochs_done = state.epochs_done

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write what is new, unless the run's folder is gone: it would come back without all that it began with."""
        if self.workers.is_chief and not self.folder.recipe.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder.recipe))
        self._epochs_done = epoch + 1
        if not is_validated(logs):
            return
        dice = float((logs or {})["val_dice"])
        self.epochs_without_gain += 1
        if dice > self.best_dice:
            self.best_dice, self.epochs_without_gain = dice, 0
        if dice >= self.best_dice - self.noise:
            self.kept_dice = dice
            if self.workers.is_chief:
                with averaged_weights(self.model), whole_file(self.folder.model) as path:
                    self.model.save(path)
        self.write()
        if in_vain(self.patience, self.epochs_without_gain):
            self.model.stop_training = True

    def write(self, steps_done: int = 0, metrics: Values = (), timing: Timing = NO_STEPS) -> None:
        """Write a checkpoint, after an epoch or within one."""
        state = State(
            epochs_done=self._epochs_done,
            steps_done=steps_done,
            spent_seconds=self.budget.spent_seconds,
            best_dice=self.best_dice,
            kept_dice=self.kept_dice,
            epochs_without_gain=self.epochs_without_gain,
            seeds=values_of(random_seeds(self.model)),
            metrics=metrics,
            timing=timing,
        )
        check_finite(self.model)  # on all workers, who end together
        if self.workers.is_chief:
            write_checkpoint(self.folder, self.model, state)


def in_vain(patience: int, epochs_without_gain: int) -> bool:
    """Say whether a run has not gained for as long as it may."""
    return 0 < patience <= epochs_without_gain


def write_checkpoint(folder: RunFolder, model: "Segmenter", state: State) -> None:
    """Write a checkpoint, and remove those before the last two."""
    with whole_folder(folder.checkpoint(state.epochs_done, state.steps_done), CHECKPOINT) as path:
        model.save(path / MODEL)
        (path / STATE).write_text(state.model_dump_json(), encoding="utf-8")
        checksums = {name: sha256_of(path / name) for name in (MODEL, STATE)}
        (path / CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
    for old in folder.saved_checkpoints[:-KEPT]:
        with suppress(InputError):  # one that holds a user's notes stays
            remove(old, CHECKPOINT)


def load_checkpoint(folder: RunFolder, description: DataDescription) -> "tuple[Segmenter, State]":
    """Return the newest checkpoint that can be read; a damaged one is named and passed over.

    Raises:
        InputError: there is none.
    """
    for path in reversed(folder.saved_checkpoints):
        try:
            checksums = json.loads((path / CHECKSUMS).read_bytes())
            if wrong := [name for name in (MODEL, STATE) if sha256_of(path / name) != checksums[name]]:
                raise InputError(f"the checksum of its '{wrong[0]}' differs")
            state = State.model_validate_json((path / STATE).read_bytes())
            model = load_segmenter(path / MODEL, description, compiled=True)
            assign_values(random_seeds(model), state.seeds)
            return model, state
        except (InputError, ValidationError, ValueError, LookupError, TypeError, OSError) as error:
            reason = first_invalid(error) if isinstance(error, ValidationError) else first_line(error)
            say(f"checkpoint '{path}' is damaged, trying the one before: {reason}")
    raise InputError(f"run '{folder.path}' has no undamaged checkpoint: start it anew with --force")


def random_seeds(model: keras.Model) -> list[keras.Variable]:
    """The states of a model's random generators, in an order that depends on its architecture alone."""
    saved = {id(variable) for variable in model.weights}
    return list({id(found): found for found in model.variables if id(found) not in saved}.values())


def values_of(variables: list[keras.Variable]) -> Values:
    """Return the variables' values; each is exactly a number of JSON. All workers must call it, in one order."""
    return tuple(tuple(ops.convert_to_numpy(variable).ravel().tolist()) for variable in variables)


def assign_values(variables: list[keras.Variable], values: Values) -> None:
    """Give variables their values back.

    Raises:
        ValueError: these are values of others.
    """
    for variable, row in zip(variables, values, strict=True):
        exact = np.array(row, np.float64).astype(variable.dtype)  # Keras' way from floats to integers is by float32
        variable.assign(exact.reshape(variable.shape))
