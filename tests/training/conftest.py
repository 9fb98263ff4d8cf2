"""What tests of whole trainings share: one as small as a network can be, and how two that ended are compared."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from descriptions import described

from kseg.console.termination import Termination
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.runs.history import read_history
from kseg.runs.run import Run
from kseg.runs.run_folder import RunFolder
from kseg.training.checkpoints import State, load_checkpoint
from kseg.training.fit import fit

SMALLEST = (
    "network.filters=[2]",
    "network.dilation_rates=[1]",
    "patches.size=[8, 8, 8]",
    "patches.batch_size=2",
    "train.validation_patches=4",
    "train.steps_per_epoch=3",
    "train.epochs=3",
    "train.learning_rate=0.05",
)
TIMES = ("step_seconds", "input_wait")
Outcome = tuple[State, list[np.ndarray], list[dict[str, float]]]
"""Where a run stands but for its clock, all weights and the optimiser's variables, its history but for the clock."""


@pytest.fixture(scope="session")
def smallest() -> tuple[str, ...]:
    """Overrides that make a training small."""
    return SMALLEST


@pytest.fixture(scope="session")
def train() -> Callable[..., Any]:
    """Train a recipe as the command does; `resume` and `termination` as in `fit`."""

    def train(recipe: Recipe, resume: bool = False, termination: Termination | None = None) -> dict[str, Any]:
        manifest = load_manifest(recipe.records_folder)
        description = described(manifest)
        run = Run(recipe, RunFolder(recipe.run_folder), recipe.records_folder, manifest, description)
        return fit(run, resume, termination=termination)

    return train


@pytest.fixture(scope="session")
def outcome() -> Callable[[RunFolder], Outcome]:
    """How a run that ended is read for a comparison."""

    def outcome(folder: RunFolder) -> Outcome:
        model, state = load_checkpoint(folder, folder.load_data_description())
        columns = {name: column for name, column in read_history(folder.history).items() if name not in TIMES}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        without_clock = state.model_copy(update={"spent_seconds": 0.0})
        return without_clock, [one.numpy() for one in (*model.variables, *model.optimizer.variables)], rows

    return outcome
