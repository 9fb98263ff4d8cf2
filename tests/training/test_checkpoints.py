"""Checkpoints: the last two, the newest sound one."""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from damage import flip_bits
from descriptions import MUSCLE

from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder
from kseg.storage.ownership import MARKER
from kseg.training.budget import Budget
from kseg.training.checkpoints import Checkpoint, State, load_checkpoint
from kseg.training.start_run import compiled_model
from kseg.training.sync_workers import SyncWorkers
from kseg.training.workers import Workers

SHORT = (
    "train.epochs=4",
    "train.steps_per_epoch=3",
    "train.validation_patches=4",
    "train.learning_rate=0.1",
    "patches.batch_size=2",
)
ALONE = Workers(tf.distribute.get_strategy())


def test_a_run_whose_time_is_up_keeps_its_model_and_is_not_trained_further(
    tiny_recipe: Callable[..., Recipe], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()
    monkeypatch.setattr(SyncWorkers, "clock", lambda _: float(next(seconds)))  # each look at it takes a second
    recipe = tiny_recipe(*SHORT, "train.max_minutes=0.05")
    report, folder = train(recipe), RunFolder(recipe.run_folder)
    assert report["epochs"] == 1  # of its three steps the first lasts three seconds
    kept = folder.model.read_bytes()
    again = train(recipe, resume=True)
    assert (again["epochs"], again["best_val_dice"]) == (1, report["best_val_dice"])
    assert folder.model.read_bytes() == kept


def test_training_names_the_shard_that_is_damaged(
    tiny_recipe: Callable[..., Recipe], train: Callable[..., Any], tmp_path: Path
) -> None:
    records = tmp_path / "damaged"
    shutil.copytree(tiny_recipe().records_folder, records)
    recipe = tiny_recipe(*SHORT, f"data.records={records}")
    shard = records / load_manifest(records).of_split("train")[1].file
    flip_bits(shard)
    with pytest.raises(InputError, match=rf"{shard.name}' is damaged \(its checksum differs\)"):
        train(recipe)


@pytest.fixture
def checkpointed(tiny_recipe: Callable[..., Recipe]) -> tuple[RunFolder, keras.Model]:
    """Write checkpoints of five epochs with a validation Dice of 0.1, 0.5, 0.3, 0.6 and 0.2; alpha tells the epoch."""
    recipe = tiny_recipe(*SHORT)
    folder = RunFolder(recipe.run_folder)
    folder.create(dump_recipe(recipe), MUSCLE)
    model = compiled_model(recipe, MUSCLE)
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
    model, state = load_checkpoint(folder, folder.load_data_description())
    assert (epoch_of(model), state.epochs_done, state.best_dice) == (4, 5, 0.6)
    assert epoch_of(folder.load_model()) == 3
    assert {path.name for path in folder.path.rglob(".*")} == {MARKER}


def test_a_resumed_run_keeps_its_model_until_one_is_as_good_but_for_noise(
    checkpointed: tuple[RunFolder, keras.Model], tiny_recipe: Callable[..., Recipe]
) -> None:
    folder, model = checkpointed
    state = load_checkpoint(folder, folder.load_data_description())[1]
    resumed = Checkpoint(folder, Budget(tiny_recipe().train), ALONE, state)
    resumed.set_model(model)
    for epoch, dice, best in ((5, 0.579, 3), (6, 0.581, 6), (7, 0.7, 7), (8, 0.679, 7)):
        model.segmentation_loss.learned.logits.assign([epoch, 0.0])
        resumed.on_epoch_end(epoch, {"val_dice": dice})
        assert epoch_of(folder.load_model()) == best
    assert (resumed.best_dice, resumed.kept_dice) == (0.7, 0.7)


def test_with_a_constant_learning_rate_the_best_model_is_kept(
    checkpointed: tuple[RunFolder, keras.Model], tiny_recipe: Callable[..., Recipe]
) -> None:
    folder, model = checkpointed
    state = load_checkpoint(folder, folder.load_data_description())[1]
    constant = Checkpoint(folder, Budget(tiny_recipe("train.schedule=constant").train), ALONE, state)
    constant.set_model(model)
    for epoch, dice, best in ((5, 0.599, 3), (6, 0.601, 6)):
        model.segmentation_loss.learned.logits.assign([epoch, 0.0])
        constant.on_epoch_end(epoch, {"val_dice": dice})
        assert epoch_of(folder.load_model()) == best


def break_state(path: Path) -> None:
    (path / "state.json").write_text("{")


def drop_state(path: Path) -> None:
    (path / "state.json").unlink()


def truncate_model(path: Path) -> None:
    (path / "model.keras").write_bytes((path / "model.keras").read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    flip_bits(path / "model.keras")


@pytest.mark.parametrize("damage", [break_state, drop_state, truncate_model, flip_a_bit])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    damage: Callable[[Path], None],
    checkpointed: tuple[RunFolder, keras.Model],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _ = checkpointed
    damage(folder.checkpoints / "epoch-000005")
    model, state = load_checkpoint(folder, folder.load_data_description())
    assert (epoch_of(model), state.epochs_done) == (3, 4)
    assert "epoch-000005' is damaged, trying the one before" in capsys.readouterr().err
    damage(folder.checkpoints / "epoch-000004")
    with pytest.raises(InputError, match="has no undamaged checkpoint"):
        load_checkpoint(folder, MUSCLE)


def test_a_checkpoint_cut_anywhere_or_changed_is_passed_over(checkpointed: tuple[RunFolder, keras.Model]) -> None:
    folder, _ = checkpointed
    for name in ("model.keras", "state.json", "sha256.json"):
        path = folder.checkpoints / "epoch-000005" / name
        sound = path.read_bytes()
        for cut in (b"", sound[: len(sound) // 3], sound[:-1]):
            path.write_bytes(cut)
            assert load_checkpoint(folder, folder.load_data_description())[1].epochs_done == 4
        path.write_bytes(sound)
    state = folder.checkpoints / "epoch-000005" / "state.json"
    state.write_bytes(state.read_bytes().replace(b'"epochs_done":5', b'"epochs_done":3'))  # still a state
    assert load_checkpoint(folder, folder.load_data_description())[1].epochs_done == 4


def test_what_a_state_holds_comes_back_from_its_json_exactly() -> None:
    state = State(
        best_dice=0.1 + 0.2, seeds=((611178003.0, 2.0**31 - 1),), metrics=((1 / 3, float("inf")), ()), steps_done=7
    )
    assert State.model_validate_json(state.model_dump_json()) == state
    lost = State(metrics=((float("nan"),),))  # float16 may count an overflow
    assert np.isnan(State.model_validate_json(lost.model_dump_json()).metrics[0][0])


def test_a_run_without_checkpoints_cannot_be_resumed(tiny_recipe: Callable[..., Recipe]) -> None:
    folder = RunFolder(tiny_recipe().run_folder)
    with pytest.raises(InputError, match="has no undamaged checkpoint"):
        load_checkpoint(folder, MUSCLE)
