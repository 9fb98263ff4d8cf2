"""Checkpoints: the last two, the newest sound one; and a killed run that ends where an undisturbed one ends."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.training.beginning import compiled_model
from kseg.training.checkpoints import Checkpoint, State, load_checkpoint
from kseg.training.display import Display
from kseg.training.fit import fit
from kseg.training.history import read_history
from kseg.training.run_folder import Contract, RunFolder
from kseg.training.schedule import Budget
from kseg.training.workers import Workers

SHORT = (
    "train.epochs=4",
    "train.steps_per_epoch=3",
    "train.validation_patches=4",
    "train.learning_rate=0.1",
    "patches.batch_size=2",
)
TIMES = ("step_seconds", "input_wait")
ALONE = Workers(tf.distribute.get_strategy())
CONTRACT = Contract(channels=("ultrasound",), labels={"background": 0, "muscle": 100})


def train(recipe: Recipe, resume: bool = False) -> dict[str, Any]:
    """Train as the command does."""
    manifest = load_manifest(recipe.records_folder)
    contract = Contract(channels=manifest.channels, labels=manifest.labels)
    return fit(
        recipe, recipe.records_folder, manifest, RunFolder(recipe.run_folder), contract, resume, time.monotonic()
    )


def values(folder: RunFolder) -> tuple[State, list[np.ndarray]]:
    """State, and weights and optimiser's variables, of a run's newest checkpoint."""
    model, state = load_checkpoint(folder, folder.load_contract())
    return state, [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]


def curves(folder: RunFolder) -> dict[str, list[float]]:
    """A run's history without what the clock says."""
    return {name: column for name, column in read_history(folder.history).items() if name not in TIMES}


def test_a_killed_run_resumed_ends_where_an_undisturbed_one_ends(
    tiny_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = (tiny_recipe(*SHORT, "train.optimizer=sgd", f"name={name}") for name in ("whole", "killed"))
    assert train(whole)["epochs"] == 4

    def kill_after_two(display: Display, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Display, "on_epoch_end", kill_after_two)
        with pytest.raises(KeyboardInterrupt):
            train(killed)
    folder, halves = RunFolder(whole.run_folder), RunFolder(killed.run_folder)
    assert load_checkpoint(halves, halves.load_contract())[1].epochs_done == 2
    assert train(killed, resume=True)["epochs"] == 4

    (state, expected), (resumed_state, found) = values(folder), values(halves)
    assert (state.epochs_done, state.best_dice) == (resumed_state.epochs_done, resumed_state.best_dice)
    assert len(expected) == len(found)
    for undisturbed, resumed in zip(expected, found, strict=True):
        np.testing.assert_allclose(resumed, undisturbed, rtol=1e-5, atol=1e-7)
    alpha, resumed_alpha = (
        float(load_checkpoint(run, run.load_contract())[0].segmentation_loss.learned.alpha) for run in (folder, halves)
    )
    assert resumed_alpha == pytest.approx(alpha, rel=1e-6) != 0.5
    expected_curves, resumed_curves = curves(folder), curves(halves)
    assert list(resumed_curves) == list(expected_curves)
    for name, column in expected_curves.items():
        np.testing.assert_allclose(resumed_curves[name], column, rtol=1e-5, atol=1e-7)
    assert resumed_curves["epoch"] == [0, 1, 2, 3]


def test_a_run_whose_time_is_up_keeps_its_model_and_is_not_trained_further(
    tiny_recipe: Callable[..., Recipe],
) -> None:
    recipe = tiny_recipe(*SHORT, "train.max_minutes=0.01")
    report, folder = train(recipe), RunFolder(recipe.run_folder)
    assert report["epochs"] == 1  # one step takes longer than 0.6 s with its graph
    kept = folder.model.read_bytes()
    again = train(recipe, resume=True)
    assert (again["epochs"], again["best_val_dice"]) == (1, report["best_val_dice"])
    assert folder.model.read_bytes() == kept


def test_training_names_the_shard_that_is_damaged(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    records = tmp_path / "damaged"
    shutil.copytree(tiny_recipe().records_folder, records)
    recipe = tiny_recipe(*SHORT, f"data.records={records}")
    shard = records / load_manifest(records).of_split("train")[1].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"{shard.name}' is damaged \(its checksum differs\)"):
        train(recipe)


@pytest.fixture
def checkpointed(tiny_recipe: Callable[..., Recipe]) -> tuple[RunFolder, keras.Model]:
    """Write checkpoints of five epochs with a validation Dice of 0.1, 0.5, 0.3, 0.6 and 0.2; alpha tells the epoch."""
    recipe = tiny_recipe(*SHORT)
    folder = RunFolder(recipe.run_folder)
    folder.create(dump_recipe(recipe), CONTRACT)
    model = compiled_model(recipe, CONTRACT)
    model.optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint(folder, Budget(recipe.train), ALONE, State())
    checkpoint.set_model(model)
    for epoch, dice in enumerate((0.1, 0.5, 0.3, 0.6, 0.2)):
        model.segmentation_loss.learned.logits.assign([epoch, 0.0])
        checkpoint.on_epoch_end(epoch, {"val_dice": dice})
    return folder, model


def epoch_of(model: keras.Model) -> float:
    return float(model.segmentation_loss.learned.logits.numpy()[0])


def test_two_checkpoints_are_kept_and_the_best_model(checkpointed: tuple[RunFolder, keras.Model]) -> None:
    folder, _ = checkpointed
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["epoch-000004", "epoch-000005"]
    model, state = load_checkpoint(folder, folder.load_contract())
    assert (epoch_of(model), state.epochs_done, state.best_dice) == (4, 5, 0.6)
    assert epoch_of(folder.load_model()) == 3
    assert not list(folder.path.rglob(".*"))


def test_a_resumed_run_keeps_the_best_model_until_it_is_beaten(
    checkpointed: tuple[RunFolder, keras.Model], tiny_recipe: Callable[..., Recipe]
) -> None:
    folder, model = checkpointed
    state = load_checkpoint(folder, folder.load_contract())[1]
    resumed = Checkpoint(folder, Budget(tiny_recipe().train), ALONE, state)
    resumed.set_model(model)
    for epoch, dice, best in ((5, 0.59, 3), (6, 0.61, 6)):
        model.segmentation_loss.learned.logits.assign([epoch, 0.0])
        resumed.on_epoch_end(epoch, {"val_dice": dice})
        assert epoch_of(folder.load_model()) == best


def break_state(path: Path) -> None:
    (path / "state.json").write_text("{")


def drop_state(path: Path) -> None:
    (path / "state.json").unlink()


def truncate_model(path: Path) -> None:
    (path / "model.keras").write_bytes((path / "model.keras").read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray((path / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "model.keras").write_bytes(content)


@pytest.mark.parametrize("damage", [break_state, drop_state, truncate_model, flip_a_bit])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    damage: Callable[[Path], None],
    checkpointed: tuple[RunFolder, keras.Model],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _ = checkpointed
    damage(folder.checkpoints / "epoch-000005")
    model, state = load_checkpoint(folder, folder.load_contract())
    assert (epoch_of(model), state.epochs_done) == (3, 4)
    assert "epoch-000005' is damaged, trying the one before" in capsys.readouterr().err
    damage(folder.checkpoints / "epoch-000004")
    with pytest.raises(InputError, match="no sound checkpoint to go on from"):
        load_checkpoint(folder, CONTRACT)


def test_a_run_without_checkpoints_cannot_be_resumed(tiny_recipe: Callable[..., Recipe]) -> None:
    folder = RunFolder(tiny_recipe().run_folder)
    with pytest.raises(InputError, match="no sound checkpoint to go on from"):
        load_checkpoint(folder, CONTRACT)
