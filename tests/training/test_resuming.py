"""A run that was killed or stopped, wherever, ends bit for bit where an undisturbed one ends."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg.console.termination import Termination
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder
from kseg.training.averaged_weights import ValidateAveragedWeights
from kseg.training.checkpoints import Checkpoint
from kseg.training.display import Display
from kseg.training.stop_on_signal import Stopped

OPTIONS = ("network.dropout=0.3", "network.skip=add", "train.ema=0.8", "train.patience=9", "augmentation.noise=1")


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def undisturbed(
    tiny_words: tuple[str, ...],
    smallest: tuple[str, ...],
    tiny_dataset: Path,
    train: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunFolder:
    """A whole run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = load_recipe(None, [*tiny_words, f"data.records={tiny_dataset}", *smallest, *OPTIONS])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(recipe)
    return RunFolder(folder / recipe.run_folder)


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...]) -> Recipe:
    """The recipe of the undisturbed run; the working folder is empty."""
    return tiny_recipe(*smallest, *OPTIONS)


@pytest.mark.parametrize(
    ("callback", "event", "places", "reached"),
    [
        (Display, "on_train_batch_end", [(0, 0)], "epoch-000000-step-000001"),
        (Display, "on_train_batch_end", [(1, 1), (1, 2)], "epoch-000001-step-000003"),  # stopped twice
        (ValidateAveragedWeights, "on_test_begin", [(1, None), (2, None)], "epoch-000002-step-000003"),
        (Display, "on_epoch_end", [(0, None)], "epoch-000001"),
    ],
)
def test_a_stopped_run_resumed_ends_where_an_undisturbed_one_ends(
    callback: type,
    event: str,
    places: list[tuple[int, int | None]],
    reached: str,
    undisturbed: RunFolder,
    recipe: Recipe,
    train: Callable[..., Any],
    outcome: Callable[[RunFolder], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = RunFolder(recipe.run_folder)
    epoch_under_way = []
    original, begin = getattr(callback, event), Checkpoint.on_epoch_begin
    monkeypatch.setattr(Checkpoint, "on_epoch_begin", lambda self, epoch, logs=None: epoch_under_way.append(epoch))
    for number, place in enumerate(places):
        termination = Termination()

        def ask(
            self: Any, *arguments: Any, place: Any = place, termination: Termination = termination, **logs: Any
        ) -> None:
            batch = arguments[0] if event == "on_train_batch_end" else None
            termination.asked = termination.asked or (epoch_under_way[-1], batch) == place
            original(self, *arguments, **logs)

        monkeypatch.setattr(callback, event, ask)
        with pytest.raises(Stopped):
            train(recipe, number > 0, termination)
        assert termination.asked
    assert folder.saved_checkpoints[-1].name == reached
    monkeypatch.setattr(callback, event, original)
    monkeypatch.setattr(Checkpoint, "on_epoch_begin", begin)
    assert train(recipe, resume=True)["epochs"] == 3
    assert_equal(outcome(folder), outcome(undisturbed))
    assert_same_model(folder, undisturbed)


def test_a_run_killed_between_its_history_and_its_checkpoint_has_each_row_once(
    undisturbed: RunFolder,
    recipe: Recipe,
    train: Callable[..., Any],
    outcome: Callable[[RunFolder], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = RunFolder(recipe.run_folder)

    def kill(self: Checkpoint, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise Killed
        original(self, epoch, logs)

    original = Checkpoint.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", kill)
        with pytest.raises(Killed):
            train(recipe)
    rows = folder.history.read_text(encoding="utf-8").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "0", "1"]
    folder.history.write_text("\n".join(rows)[:-20], encoding="utf-8")  # the last row is torn, besides
    train(recipe, resume=True)
    rows = folder.history.read_text(encoding="utf-8").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    assert_equal(outcome(folder), outcome(undisturbed))


def test_a_run_killed_after_its_last_checkpoint_is_only_reported(
    undisturbed: RunFolder, recipe: Recipe, train: Callable[..., Any]
) -> None:
    folder = RunFolder(recipe.run_folder)
    shutil.copytree(undisturbed.path, folder.path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.saved_checkpoints}
    assert train(recipe, resume=True)["epochs"] == 3
    assert {path.name: path.stat().st_mtime_ns for path in folder.saved_checkpoints} == before


def test_a_run_that_gained_no_more_is_not_trained_further(
    tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...], train: Callable[..., Any]
) -> None:
    # A step of 1e-12 changes no voxel: the first validation stays the best. Patience counts on where it was stopped.
    still = (*smallest, "train.learning_rate=1e-12", "train.ema=0.5", "train.patience=2", "network.norm=group")
    recipe, termination = tiny_recipe(*still, "train.epochs=2"), Termination()
    assert train(recipe, False, termination)["epochs"] == 2  # one in vain
    longer = tiny_recipe(*still, "train.epochs=9")
    assert train(longer, resume=True)["epochs"] == 3
    assert train(longer, resume=True)["epochs"] == 3


def assert_equal(one: Any, other: Any) -> None:
    """Two outcomes are the same, bit for bit."""
    (state, values, rows), (other_state, other_values, other_rows) = one, other
    assert state == other_state
    assert len(values) == len(other_values)
    for value, other_value in zip(values, other_values, strict=True):
        np.testing.assert_array_equal(value, other_value)
    assert rows == other_rows


def assert_same_model(one: RunFolder, other: RunFolder) -> None:
    """The best models are the same, bit for bit."""
    models = [folder.load_model() for folder in (one, other)]
    for weight, other_weight in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(weight, other_weight)


DEVICES = """
import sys, time
from pathlib import Path
import numpy as np, tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kseg.console.termination import Termination
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.manifest import load_manifest
from kseg.training.checkpoints import load_checkpoint
from kseg.training.display import Display
from kseg.training.fit import fit
from kseg.runs.data_description import DataDescription
from kseg.runs.run import Run
from kseg.runs.run_folder import RunFolder
from kseg.training.stop_on_signal import Stopped
from kseg.training.workers import start_workers

workers = start_workers()
def train(name, resume=False, termination=None):
    recipe = load_recipe(Path(sys.argv[1]), [f"name={name}"])
    manifest = load_manifest(recipe.records_folder)
    description = DataDescription(channels=manifest.channels, labels=manifest.labels)
    run = Run(recipe, RunFolder(recipe.run_folder), recipe.records_folder, manifest, description)
    fit(run, resume, workers, termination)
    return run.folder

def values(folder):
    model, _ = load_checkpoint(folder, folder.load_data_description())
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]

termination, original = Termination(), Display.on_train_batch_end
def ask(self, batch, logs=None):
    termination.asked = batch == 1
    original(self, batch, logs)
Display.on_train_batch_end = ask
try:
    train("stopped", False, termination)
except Stopped:
    Display.on_train_batch_end = original
np.savez(sys.argv[2], *values(train("stopped", True)))
np.savez(sys.argv[3], *values(train("whole")))
"""


def test_a_run_on_several_devices_resumed_ends_where_an_undisturbed_one_ends(recipe: Recipe, tmp_path: Path) -> None:
    path, *results = (tmp_path / name for name in ("recipe.toml", "stopped.npz", "whole.npz"))
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    command = [sys.executable, "-c", DEVICES, *map(str, (path, *results))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert "on 2 device(s)" in said
    assert "from epoch 1, step 3" in said
    stopped, whole = (np.load(result) for result in results)
    assert len(stopped.files) == len(whole.files)
    for name in whole.files:
        np.testing.assert_allclose(stopped[name], whole[name], rtol=1e-5, atol=1e-7)
