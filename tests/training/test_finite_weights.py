"""A training that diverges, or that the memory does not hold, ends in one line, and what was kept stays sound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.console.errors import InputError
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder
from kseg.training.checkpoints import load_checkpoint
from kseg.training.display import Display

Train = Callable[..., Any]


@pytest.mark.parametrize("at", ["a step", "the end of an epoch"])
def test_weights_that_are_no_numbers_end_a_run_and_are_not_kept(
    at: str,
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(*smallest, "name=diverged")
    original = Display.on_train_batch_end
    last = 0 if at == "a step" else recipe.train.steps_per_epoch - 1

    def spoil(self: Display, batch: int, logs: Any = None) -> None:
        if (self._epoch, batch) == (2, last):
            bias = self.model.network.get_layer("output").bias
            bias.assign(np.nan * bias)
        original(self, batch, logs)

    monkeypatch.setattr(Display, "on_train_batch_end", spoil)
    with pytest.raises(InputError, match=r"the training has diverged: '[^']*' holds NaN or infinity; train anew"):
        train(recipe)
    folder = RunFolder(recipe.run_folder)
    model, state = load_checkpoint(folder, folder.load_data_description())
    assert (state.epochs_done, state.steps_done) == (1, 0)
    for one in (model, folder.load_model()):
        assert all(np.isfinite(weight).all() for weight in one.get_weights())


def test_a_step_that_the_memory_does_not_hold_is_told_in_a_line_and_no_shard_is_read(
    tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(*smallest, "name=large")

    def fail(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[2,9]\nmore")

    monkeypatch.setattr(Display, "on_train_batch_end", fail)
    monkeypatch.setattr("kseg.training.fit.check_shards", lambda *_: pytest.fail("shards are read"))
    said = (
        r"does not hold a step of 2 patches of 8 x 8 x 8 voxels \(OOM when allocating tensor with shape\[2,9\]\): train"
    )
    with pytest.raises(InputError, match=said):
        train(recipe)


def test_a_disk_that_is_full_is_not_taken_for_a_memory(
    tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "/runs/logs/events; No space left on device")

    monkeypatch.setattr(Display, "on_train_batch_end", fail)
    with pytest.raises(InputError, match=r"No space left on device: .*then go on with --resume"):
        train(tiny_recipe(*smallest, "name=full"))


def test_damage_is_looked_for_in_what_a_training_reads(
    tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[Any]()

    def fail(*_: object, **__: object) -> None:
        raise tf.errors.DataLossError(None, None, "corrupted record")

    monkeypatch.setattr(Display, "on_train_batch_end", fail)
    monkeypatch.setattr("kseg.training.fit.check_shards", lambda *given: looked.append(given[-1]))
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        train(tiny_recipe(*smallest, "name=damaged"))
    assert looked == [("train", "val")]
