"""The budget of steps and time, against a clock that the test turns."""

import time
from types import SimpleNamespace

import pytest
from turned_clock import Clock

from kseg.recipe.sections import Train
from kseg.training.budget import Budget, TooFewSteps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def budget(
    first_epoch: int = 0,
    spent_seconds: float = 0.0,
    steps_done: int = 0,
    least_steps: int = 0,
    steps_afterwards: float = 0.0,
    **options: float,
) -> Budget:
    options = {"epochs": 10} | options
    train = Train(steps_per_epoch=4, warmup=0, **options)
    kept = {"least_steps": least_steps, "steps_afterwards": steps_afterwards}
    made = Budget(train, first_epoch, spent_seconds, steps_done=steps_done, **kept)
    made.set_model(SimpleNamespace(stop_training=False, optimizer=SimpleNamespace(learning_rate=0.0)))
    return made


def step(budget: Budget, clock: Clock, seconds: float) -> None:
    budget.on_train_batch_begin(0)
    clock.now += seconds
    budget.on_train_batch_end(0)


def validation(budget: Budget, clock: Clock, first_batch: float, rest: float) -> None:
    budget.on_test_begin()
    clock.now += first_batch
    budget.on_test_batch_end(0)
    clock.now += rest
    budget.on_test_batch_end(1)
    budget.on_test_end()


def test_progress_is_the_larger_share_of_steps_and_time(clock: Clock) -> None:
    made = budget(max_minutes=1)
    for _ in range(4):
        step(made, clock, 0.5)
    assert made.progress == pytest.approx(0.1)  # 4 of 40 steps, 1.5 of 60 s
    clock.now += 28
    assert made.progress == pytest.approx(29.5 / 57)  # 5 % are kept for a validation
    clock.now += 1000
    assert made.progress == 1.0


def test_the_time_that_is_left_is_that_of_the_steps_or_of_the_clock(clock: Clock) -> None:
    made = budget()
    step(made, clock, 100)  # compiles
    assert made.left_seconds is None
    for _ in range(9):
        step(made, clock, 2)
    assert made.left_seconds == pytest.approx(30 * 2)  # 10 of 40 steps are done

    bounded = budget(max_minutes=1)
    step(bounded, clock, 100)
    step(bounded, clock, 6)
    assert bounded.left_seconds == 60 - 6  # 38 more steps would not fit


def test_the_time_that_is_left_of_a_resumed_run_goes_by_its_own_steps(clock: Clock) -> None:
    made = budget(first_epoch=5, spent_seconds=1000)  # on a slower machine
    for _ in range(6):
        step(made, clock, 2)  # the first, which compiles, is not timed
    assert made.left_seconds == pytest.approx(14 * 2)  # 26 of 40 steps are done


def test_the_rate_follows_the_clock_where_that_runs_out_first(clock: Clock) -> None:
    made = budget(max_minutes=1, learning_rate=2.0, schedule="cosine")
    step(made, clock, 100)
    clock.now += 28.5
    made.on_train_batch_begin(0)
    assert made.model.optimizer.learning_rate == pytest.approx(1.0)


def test_starting_and_compiling_take_nothing_from_the_time(clock: Clock) -> None:
    made = budget(max_minutes=1)
    clock.now += 40
    assert not made.has_compiled
    step(made, clock, 100)
    assert made.has_compiled
    assert made.spent_seconds == 0
    for _ in range(3):
        step(made, clock, 2)
    validation(made, clock, first_batch=50, rest=3)
    assert made.spent_seconds == pytest.approx(9)
    assert made.validation_seconds == pytest.approx(3)
    validation(made, clock, first_batch=1, rest=3)
    assert made.spent_seconds == pytest.approx(13)
    assert not made.model.stop_training


def test_a_resumed_run_goes_on_where_it_stood(clock: Clock) -> None:
    made = budget(first_epoch=5, spent_seconds=12, max_minutes=2)
    assert made.progress == pytest.approx(0.5)
    assert made.spent_seconds == 12
    step(made, clock, 30)
    assert made.spent_seconds == 12
    clock.now += 73.5
    assert made.progress == pytest.approx(0.75)


def test_steps_that_are_passed_over_do_not_start_the_time(clock: Clock) -> None:
    made = budget(first_epoch=5, spent_seconds=12, steps_done=2, max_minutes=2)
    step(made, clock, 1)
    step(made, clock, 1)
    assert not made.has_compiled
    step(made, clock, 20)
    assert made.has_compiled
    assert made.spent_seconds == 12


def test_it_stops_while_there_is_time_for_the_validation_that_follows(clock: Clock) -> None:
    made = budget(max_minutes=1)
    step(made, clock, 100)
    validation(made, clock, first_batch=30, rest=20)
    steps = 0
    while not made.model.stop_training:
        step(made, clock, 3)
        steps += 1
    # 20 s are spent, 20 s are kept: another step of 3 s after the sixth would end at 41 + 20 s.
    assert steps == 6
    assert made.spent_seconds + 20 <= 60


def test_before_the_first_validation_a_small_share_is_kept_for_it(clock: Clock) -> None:
    made = budget(max_minutes=1)
    step(made, clock, 100)
    for _ in range(56):
        step(made, clock, 1)
    assert not made.model.stop_training  # 56 s are spent, the next step takes one, and 3 are kept
    step(made, clock, 1)
    assert made.model.stop_training


def test_the_first_steps_tell_whether_enough_will_fit(clock: Clock) -> None:
    enough, few = (budget(max_minutes=1, epochs=1000, least_steps=least) for least in (30, 31))
    for made in (enough, few):
        step(made, clock, 100)
        for seconds in (2.0, 2.0, 9.0):
            step(made, clock, seconds)
    step(enough, clock, 2.0)
    with pytest.raises(TooFewSteps) as found:
        step(few, clock, 2.0)
    assert found.value.step_seconds == 2.0


def test_a_look_is_kept_time_for_beside_the_validation(clock: Clock) -> None:
    made = budget(max_minutes=1)
    for validation, look in ((10, 8), (5, 4)):
        made.on_test_begin()
        clock.now += validation
        made.on_test_end()
        made.count_look(look)
    assert made.validation_seconds == 9


def test_time_is_kept_for_what_follows_the_last_validation(clock: Clock) -> None:
    short, long = (budget(max_minutes=minutes, epochs=1000, steps_afterwards=4) for minutes in (1, 100))
    for made in (short, long):
        step(made, clock, 100)
        assert made.kept_seconds == made.validation_seconds  # how long a step takes is not known yet
        for seconds in (2.0, 1.0, 2.0):
            step(made, clock, seconds)
        validation(made, clock, 0, 3)
    assert long.kept_seconds == 3 + 4 * 2
    assert short.kept_seconds == pytest.approx(3 + 0.03 * 60)
    assert long.seconds_afterwards == 6000 - 8  # all but three steps and the validation
    clock.now += 5990
    assert long.seconds_afterwards == pytest.approx(0.03 * 6000)


def test_time_in_which_something_compiles_is_not_counted(clock: Clock) -> None:
    made = budget(max_minutes=1)
    step(made, clock, 100)
    step(made, clock, 2)
    with made.not_counted():
        clock.now += 30
    clock.now += 1
    assert made.spent_seconds == 3


def test_without_a_limit_time_stops_nothing(clock: Clock) -> None:
    made = budget()
    step(made, clock, 1e9)
    assert not made.model.stop_training
    assert made.progress == pytest.approx(1 / 40)
