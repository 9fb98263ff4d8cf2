"""Trainings as processes: killed and asked to end by signals, as schedulers do, and resumed."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder

GRACE = 180
"""Seconds; SLURM leaves 30 between SIGTERM and SIGKILL, but a test must not depend on what else the machine does."""


@contextmanager
def training(recipe: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Train as the command does, in a process; it is killed at the end of the block."""
    command = [sys.executable, "-m", "kseg.train", str(recipe), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> None:
    """Read the lines that a process writes until one has `word`."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return
    raise AssertionError(f"it ended without '{word}':\n{''.join(lines)}")


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], smallest: tuple[str, ...], tmp_path: Path) -> Path:
    """A recipe's file, of epochs without end whose learning rate does not depend on their number."""
    path = tmp_path / "recipe.toml"
    endless = (
        "train.epochs=100000",
        "train.schedule=constant",
        "train.warmup=0",
        "network.dropout=0.3",
        "train.deterministic=true",
    )
    path.write_text(dump_recipe(tiny_recipe(*smallest, *endless)), encoding="utf-8")
    return path


def test_sigterm_ends_a_training_with_a_checkpoint_and_status_0(recipe: Path) -> None:
    folder = RunFolder(Path("saved_models/tiny"))
    with training(recipe, "--json") as process:
        read_until(process, "augmentation:")  # next it compiles its first step, which no signal interrupts
        process.terminate()
        printed, said = process.communicate(timeout=GRACE)
    assert process.returncode == 0
    (line,) = said.splitlines()
    assert json.loads(printed) == {"stopped": line.removeprefix("stopped ")}
    # The signal may come late to a machine under load.
    begun = re.fullmatch(r"stopped (before the first step|after step \d+ of epoch 1): go on with --resume", line)
    assert begun
    assert (len(folder.saved_checkpoints) == 1) == begun[1].startswith("before")
    with training(recipe, "--resume", "--json") as process:
        read_until(process, "epoch    1")
        process.terminate()
        printed, said = process.communicate(timeout=GRACE)
    assert process.returncode == 0
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert re.fullmatch(r"stopped after (step \d+ of )?epoch \d+: go on with --resume", last)
    assert list(json.loads(printed)) == ["stopped"]
    assert folder.saved_checkpoints[-1].name >= "epoch-000001"


@pytest.fixture
def _heard_interrupts() -> Iterator[None]:
    """Ctrl-C reaches children, also where a shell has started the tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard_interrupts")
def test_a_training_that_its_user_interrupts_says_how_to_go_on(recipe: Path) -> None:
    with training(recipe) as process:
        read_until(process, "epoch    1")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=GRACE)[1].splitlines()
    assert process.returncode == 1
    resumed, stopped = said[-2:]
    assert resumed == "stopped: go on from the last checkpoint with --resume"
    assert stopped == "kseg.train: stopped by the user"


def test_a_training_killed_twice_ends_bit_for_bit_where_an_undisturbed_one_ends(
    recipe: Path, outcome: Callable[[RunFolder], Any]
) -> None:
    killed, whole = (RunFolder(Path("saved_models", name)) for name in ("killed", "whole"))
    with training(recipe, "name=killed") as process:
        read_until(process, "epoch    1")
        process.kill()
    with training(recipe, "name=killed", "--resume") as process:
        read_until(process, "from epoch")
        process.kill()
    epochs = int(killed.saved_checkpoints[-1].name.removeprefix("epoch-")) + 1
    assert epochs > 1
    for words in (["name=killed", "--resume"], ["name=whole"]):
        with training(recipe, f"train.epochs={epochs}", *words) as process:
            assert process.communicate()[0] == ""
        assert process.returncode == 0
    (state, values, rows), (expected_state, expected_values, expected_rows) = outcome(killed), outcome(whole)
    assert (state, rows) == (expected_state, expected_rows)
    for value, expected in zip(values, expected_values, strict=True):
        np.testing.assert_array_equal(value, expected)
