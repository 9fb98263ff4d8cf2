"""What a run says of itself where no terminal shows a bar."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from turned_clock import Clock

from kseg.console import terminal
from kseg.training import display as module
from kseg.training.display import Display


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    for one in (module, terminal):
        monkeypatch.setattr(one, "stderr", Console(file=file, width=120, highlight=False))
    return file


def shown(budget: SimpleNamespace) -> Display:
    made = Display(budget, ("soleus",))
    made.set_params({"steps": 50, "epochs": 10})
    return made


def test_a_file_has_a_line_each_half_minute(clock: Clock, file: io.StringIO) -> None:
    budget = SimpleNamespace(has_compiled=False, progress=0.25, left_seconds=None)
    made = shown(budget)
    made.on_epoch_begin(2)
    assert file.getvalue().startswith("compiling the first step")
    clock.now += 65
    budget.has_compiled = True
    made.on_train_batch_end(0, {"loss": 0.5})
    assert file.getvalue().splitlines()[1:] == ["compiled in 65 s"]
    for batch in range(1, 8):
        clock.now += 10
        made.on_train_batch_end(batch, {"loss": 0.5})
    made.close()
    assert file.getvalue().splitlines()[2:] == [
        "epoch    3  step 4 of 50, loss 0.5000, 25% of the run",
        "epoch    3  step 7 of 50, loss 0.5000, 25% of the run",
    ]


def test_a_line_has_the_latest_dice_and_the_time_that_is_left(clock: Clock, file: io.StringIO) -> None:
    budget = SimpleNamespace(has_compiled=True, progress=0.25, left_seconds=8000.0)
    made = shown(budget)
    for epoch, dice in enumerate((0.8, 0.7)):
        made.on_epoch_begin(epoch)
        clock.now += 40
        made.on_train_batch_end(0, {"loss": 0.5})
        made.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.6, "val_dice": dice, "val_dice_soleus": dice})
        budget.progress, budget.left_seconds = 0.5, 100.0
    assert file.getvalue().splitlines()[-3:] == [
        "epoch    1  loss 0.5000  val loss 0.6000  val Dice 0.800 (soleus 0.800)  25% of the run, 2 h 13 min left",
        "epoch    2  step 1 of 50, loss 0.5000, val Dice 0.800 after epoch 1, 50% of the run, 2 min left",
        "epoch    2  loss 0.5000  val loss 0.6000  val Dice 0.700 (soleus 0.700)  50% of the run, 2 min left",
    ]


def test_compiling_is_told_once_and_not_of_steps_that_are_passed_over(clock: Clock, file: io.StringIO) -> None:
    budget = SimpleNamespace(has_compiled=False, progress=0.25, left_seconds=None)
    made = shown(budget)
    made.on_epoch_begin(0)
    made.on_train_batch_end(0, {"loss": 0.5})
    assert len(file.getvalue().splitlines()) == 1
    budget.has_compiled = True
    made.on_train_batch_end(1, {"loss": 0.5})
    made.on_epoch_end(0, {"loss": 0.5})
    made.on_epoch_begin(1)
    made.on_train_batch_end(0, {"loss": 0.5})
    assert [line.split()[0] for line in file.getvalue().splitlines()] == ["compiling", "compiled"]


def test_a_long_compilation_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, file: io.StringIO) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    made = shown(SimpleNamespace(has_compiled=False, progress=0.0, left_seconds=None))
    made.on_epoch_begin(0)
    while "compiling since" not in file.getvalue():
        time.sleep(0.01)
    made.close()
