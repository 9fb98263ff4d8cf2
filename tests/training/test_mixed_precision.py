"""float16 with a scaled loss, and bfloat16: an overflow costs a step, not the run; a resumed run scales on."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from descriptions import MUSCLE

from kseg.console.termination import Termination
from kseg.nn.segmenter import Segmenter
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder
from kseg.training.averaged_weights import averaged_weights
from kseg.training.checkpoints import State, load_checkpoint, write_checkpoint
from kseg.training.display import Display
from kseg.training.start_run import compiled_model
from kseg.training.stop_on_signal import Stopped


@pytest.fixture
def float16(tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...]) -> Iterator[Segmenter]:
    """A model that trains in float16, its weights averaged."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield compiled_model(tiny_recipe(*smallest, "train.ema=0.5"), MUSCLE)
    finally:
        keras.config.set_dtype_policy("float32")


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 8, 8, 8)).astype(np.uint8)
    return (labels[..., None] + rng.normal(size=(*labels.shape, 1))).astype(np.float32), labels


def step(model: Segmenter, voxels: np.ndarray, labels: np.ndarray) -> None:
    model.fit(voxels, labels, batch_size=2, epochs=1, shuffle=False, verbose=0)


def weights(model: Segmenter) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.trainable_variables]


def unchanged(model: Segmenter, before: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(weights(model), before, strict=True))


def test_a_step_whose_gradients_overflow_is_skipped_and_the_scale_halves(float16: Segmenter) -> None:
    step(float16, *batch())
    optimizer = float16.optimizer
    before, done = weights(float16), int(optimizer.iterations)
    optimizer.dynamic_scale.assign(2.0**100)
    step(float16, *batch())
    assert unchanged(float16, before)
    assert (float(optimizer.dynamic_scale), int(optimizer.iterations)) == (2.0**99, done)
    optimizer.dynamic_scale.assign(2.0**10)
    step(float16, *batch())
    assert not unchanged(float16, before)
    assert (float(optimizer.dynamic_scale), int(optimizer.iterations)) == (2.0**10, done + 1)


def test_a_step_whose_maps_overflow_leaves_no_mark(float16: Segmenter) -> None:
    voxels, labels = batch()
    step(float16, voxels, labels)
    before, scale = weights(float16), float(float16.optimizer.dynamic_scale)
    step(float16, 1e30 * voxels, labels)  # infinite in float16
    assert unchanged(float16, before)
    assert float(float16.optimizer.dynamic_scale) == scale / 2
    assert all(np.isfinite(variable.numpy()).all() for variable in float16.weights)
    for _ in range(5):
        step(float16, voxels, labels)
    assert not unchanged(float16, before)
    assert np.isfinite(float16.evaluate(voxels, labels, batch_size=2, verbose=0, return_dict=True)["loss"])


def test_the_average_is_validated_though_the_optimiser_is_wrapped(float16: Segmenter) -> None:
    step(float16, *batch())
    kernel = float16.trainable_variables[0]
    kernel.assign(7.0 + kernel)  # Keras has put the average in at the end of `fit`
    before = weights(float16)
    with averaged_weights(float16):
        assert not unchanged(float16, before)
    assert unchanged(float16, before)


def test_the_scale_survives_a_checkpoint(float16: Segmenter, tiny_recipe: Callable[..., Recipe]) -> None:
    step(float16, *batch())
    float16.optimizer.dynamic_scale.assign(2.0**7)
    float16.optimizer.step_counter.assign(1234)
    folder = RunFolder(tiny_recipe().run_folder)
    write_checkpoint(folder, float16, State())
    loaded, _ = load_checkpoint(folder, MUSCLE)
    assert (float(loaded.optimizer.dynamic_scale), int(loaded.optimizer.step_counter)) == (2.0**7, 1234)
    step(float16, *batch())
    step(loaded, *batch())
    assert (float(loaded.optimizer.dynamic_scale), int(loaded.optimizer.step_counter)) == (2.0**7, 1235)
    assert unchanged(loaded, weights(float16))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_run_in_mixed_precision_stopped_and_resumed_ends_where_an_undisturbed_one_ends(
    precision: str,
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    train: Callable[..., Any],
    outcome: Callable[[RunFolder], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, stopped = (tiny_recipe(*smallest, f"train.precision={precision}", f"name={name}") for name in ("a", "b"))
    termination, original = Termination(), Display.on_train_batch_end
    try:
        train(whole)

        def ask(self: Display, batch: int, logs: Any = None) -> None:
            termination.asked = batch == 1
            original(self, batch, logs)

        with monkeypatch.context() as patch:
            patch.setattr(Display, "on_train_batch_end", ask)
            with pytest.raises(Stopped):
                train(stopped, False, termination)
        train(stopped, resume=True)
    finally:
        keras.config.set_dtype_policy("float32")
    (state, values, rows), (expected_state, expected_values, expected_rows) = (
        outcome(RunFolder(recipe.run_folder)) for recipe in (stopped, whole)
    )
    assert (state, rows) == (expected_state, expected_rows)
    for value, expected in zip(values, expected_values, strict=True):
        np.testing.assert_array_equal(value, expected)
