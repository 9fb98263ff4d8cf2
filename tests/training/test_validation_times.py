"""When a run is validated, against a clock that the test turns."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from turned_clock import Clock

from kseg.console.termination import Termination
from kseg.recipe.sections import Recipe, Train
from kseg.runs.history import read_history
from kseg.runs.run_folder import RunFolder
from kseg.training.display import Display
from kseg.training.stop_on_signal import Stopped
from kseg.training.validation_times import SHARE, ValidationTimes


def times(clock: Clock, **options: float) -> ValidationTimes:
    made = ValidationTimes(Train(epochs=100, **options), clock)
    made.set_model(SimpleNamespace(stop_training=False))
    return made


def validate(made: ValidationTimes, clock: Clock, seconds: float) -> None:
    made.on_test_begin()
    clock.now += seconds
    made.on_epoch_begin(0)


def test_what_steps_bound_is_validated_after_each_epoch() -> None:
    clock = Clock()
    made = times(clock)
    for epoch in range(1, 4):
        assert epoch in made.frequency
        validate(made, clock, 1e3)


def test_what_minutes_bound_spends_its_share_on_validations() -> None:
    clock = Clock()
    made = times(clock, max_minutes=10)
    assert 1 in made.frequency
    validate(made, clock, 8)  # it compiles: the next is taken to cost half
    clock.now += 0.99 * 4 / SHARE
    assert 2 not in made.frequency
    clock.now += 0.02 * 4 / SHARE
    assert 3 in made.frequency
    validate(made, clock, 2)
    clock.now += 0.99 * 2 / SHARE
    assert 4 not in made.frequency
    clock.now += 0.02 * 2 / SHARE
    assert 5 in made.frequency


def test_the_end_is_validated_however_it_comes() -> None:
    clock = Clock()
    made = times(clock, max_minutes=10)
    validate(made, clock, 8)
    assert 99 not in made.frequency
    assert 100 in made.frequency
    made.model.stop_training = True
    assert 50 in made.frequency


def test_a_run_of_minutes_has_a_row_and_a_checkpoint_where_it_is_validated(
    train: Callable[..., Any],
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ValidationTimes, "is_due", lambda self, epoch: epoch in (1, 3, 4))
    recipe = tiny_recipe(*smallest, "train.epochs=4", "train.max_minutes=9")
    report = train(recipe)
    folder = RunFolder(Path(report["run"]))
    history = read_history(folder.history)
    assert history["epoch"] == [0, 2, 3]
    assert report["epochs"] == 4
    assert report["best_val_dice"] == max(history["val_dice"])
    assert [path.name for path in folder.saved_checkpoints] == [folder.checkpoint(n, 0).name for n in (3, 4)]


@pytest.mark.parametrize(
    ("event", "steps", "reached"),
    [("on_train_batch_end", 7, "epoch-000002-step-000001"), ("on_epoch_end", 6, "epoch-000002")],
)
def test_epochs_that_were_not_validated_count_where_a_run_is_stopped(
    event: str,
    steps: int,
    reached: str,
    train: Callable[..., Any],
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ValidationTimes, "is_due", lambda self, epoch: epoch in (1, 4))
    recipe, termination = tiny_recipe(*smallest, "train.epochs=4", "train.max_minutes=9"), Termination()
    original = getattr(Display, event)

    def ask(display: Display, number: int, logs: Any = None) -> None:
        original(display, number, logs)
        termination.asked = termination.asked or display.budget.steps == steps

    with monkeypatch.context() as patch:
        patch.setattr(Display, event, ask)
        with pytest.raises(Stopped):
            train(recipe, termination=termination)
    folder = RunFolder(recipe.run_folder)
    assert folder.saved_checkpoints[-1].name == reached
    assert train(recipe, resume=True)["epochs"] == 4
