"""The budget of steps and time, against a clock that the test turns."""

import time
from types import SimpleNamespace

import pytest
from turned_clock import Clock

from kseg.recipe.sections import Train
from kseg.training.budget import Budget


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def budget(first_epoch: int = 0, spent_seconds: float = 0.0, **options: float) -> Budget:
    made = Budget(Train(epochs=10, steps_per_epoch=4, warmup=0, **options), first_epoch, spent_seconds)
    made.set_model(SimpleNamespace(stop_training=False, optimizer=SimpleNamespace(learning_rate=0.0)))
    return made


def step(budget: Budget, clock: Clock, seconds: float) -> None:
    budget.on_train_batch_begin(0)
    clock.now += seconds
    budget.on_train_batch_end(0)


def test_progress_is_the_larger_share_of_steps_and_time(clock: Clock) -> None:
    made = budget(max_minutes=1)
    for _ in range(4):
        step(made, clock, 0.5)
    assert made.progress == pytest.approx(0.1)  # 4 of 40 steps, 2 of 60 s
    clock.now += 28
    assert made.progress == pytest.approx(30 / 59.5)  # half a second, that of the first step, is kept
    clock.now += 1000
    assert made.progress == 1.0


def test_the_rate_follows_the_clock_where_that_runs_out_first(clock: Clock) -> None:
    made = budget(max_minutes=1, learning_rate=2.0, schedule="cosine")
    clock.now += 30
    made.on_train_batch_begin(0)
    assert made.model.optimizer.learning_rate == pytest.approx(1.0)


def test_a_resumed_run_goes_on_where_it_stood(clock: Clock) -> None:
    made = budget(first_epoch=5, spent_seconds=12, max_minutes=2)
    assert made.progress == pytest.approx(0.5)
    assert made.spent_seconds == 12
    clock.now += 78
    assert made.progress == pytest.approx(0.75)


def test_it_stops_while_there_is_time_for_the_validation_that_follows(clock: Clock) -> None:
    made = budget(max_minutes=1)
    made.on_test_begin()
    clock.now += 20
    made.on_test_end()
    steps = 0
    while not made.model.stop_training:
        step(made, clock, 3)
        steps += 1
    # 20 s are spent, 20 s are kept: another step of 3 s after the sixth would end at 41 + 20 s.
    assert steps == 6
    assert made.spent_seconds + 20 <= 60


def test_the_time_to_compile_the_first_step_is_not_kept_for_the_next(clock: Clock) -> None:
    made = budget(max_minutes=1)
    step(made, clock, 31)
    assert not made.model.stop_training
    for _ in range(25):
        step(made, clock, 1)
    assert not made.model.stop_training  # 56 s are spent, the next step takes one, and 3 are kept for a validation
    step(made, clock, 1)
    assert made.model.stop_training


def test_before_the_first_validation_no_more_is_kept_for_it_than_the_first_step_took(clock: Clock) -> None:
    made = budget(max_minutes=1)
    for _ in range(58):
        step(made, clock, 1)
    assert not made.model.stop_training
    step(made, clock, 1)  # 59 s are spent: another step leaves none for the validation
    assert made.model.stop_training


def test_a_look_is_kept_time_for_beside_the_validation(clock: Clock) -> None:
    made = budget(max_minutes=1)
    for validation, look in ((10, 8), (5, 4)):
        made.on_test_begin()
        clock.now += validation
        made.on_test_end()
        made.count_look(look)
    assert made.validation_seconds == 9


def test_without_a_limit_time_stops_nothing(clock: Clock) -> None:
    made = budget()
    step(made, clock, 1e9)
    assert not made.model.stop_training
    assert made.progress == pytest.approx(1 / 40)
