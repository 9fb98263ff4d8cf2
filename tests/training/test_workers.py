"""Several workers: who they are by TF_CONFIG and SLURM, and two that train on loopback as one does."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder
from kseg.training.workers import Workers, _from_slurm, _from_tf_config

ALONE = Workers(tf.distribute.get_strategy())


def tf_config(cluster: dict[str, list[str]], job: str = "worker", index: int = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not what TensorFlow expects"),
        ("[1]", "not what TensorFlow expects"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "not what TensorFlow expects"),
        (tf_config({"worker": ["a:1", "b:1"], "ps": ["c:1"]}), "type 'ps': only 'worker' and one 'chief'"),
        (tf_config({"worker": ["a:1", "a:1"]}), "no address twice"),
        (tf_config({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "one chief at most"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=2), "this is worker 2, but names no such task"),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_told(text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=re.escape(complaint)):
        _from_tf_config()


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {}}', tf_config({"worker": ["a:1"]})])
def test_without_a_second_worker_there_is_no_cluster(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    assert _from_tf_config() is None
    assert _from_slurm() is None


def test_slurms_tasks_are_workers_in_the_order_of_their_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"NUM_TASKS": "5", "NODELIST": "n[07,10],m1", "TASKS_PER_NODE": "2(x2),1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", value)
    monkeypatch.setenv("SLURM_JOB_ID", "40007")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = []
    for rank, node in enumerate(("m1", "n07", "n07", "n10", "n10")):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        monkeypatch.setenv("SLURMD_NODENAME", node)
        resolver = _from_slurm()
        spec = resolver.cluster_spec().as_dict()
        assert spec == {"worker": ["m1:12007", "n07:12007", "n07:12008", "n10:12007", "n10:12008"]}
        found.append(spec["worker"][resolver.task_id])
        assert "CUDA_VISIBLE_DEVICES" not in os.environ  # GPUs are for SLURM to give
    assert found == spec["worker"]
    monkeypatch.setenv("SLURMD_NODENAME", "n07")  # SLURM's ranks and TensorFlow's disagree
    with pytest.raises(InputError, match=r"on 'n07' for the one at 'n10:12008': set TF_CONFIG"):
        _from_slurm()
    monkeypatch.setenv("SLURM_STEP_NODELIST", "n[")
    with pytest.raises(InputError, match="SLURM's variables name no workers"):
        _from_slurm()


def test_a_batch_is_shared_evenly_or_refused() -> None:
    def of(batch_size: int, precision: str = "auto") -> Recipe:
        return load_recipe(None, [f"patches.batch_size={batch_size}", f"train.precision={precision}"])

    ALONE.check_shared(of(3, "mixed_float16"))

    class Four:
        num_replicas_in_sync = 4

    workers = Workers(Four(), count=2)  # type: ignore[arg-type]
    assert workers.devices == 2
    workers.check_shared(of(8))
    with pytest.raises(InputError, match="batch_size = 6 cannot be shared by 4 devices"):
        workers.check_shared(of(6))
    with pytest.raises(InputError, match="the first of 4 devices alone: choose mixed_bfloat16"):
        workers.check_shared(of(8, "mixed_float16"))


def test_one_worker_agrees_with_itself() -> None:
    assert ALONE.sums([1.0, 2.5]) == [1.0, 2.5]
    assert ALONE.from_chief(3.0) == 3.0
    ALONE.check_alike("anything")
    with pytest.raises(tf.errors.UnavailableError), ALONE.missed():
        raise tf.errors.UnavailableError(None, None, "no worker, but a server")


STEPS = ("train.epochs=4", "train.steps_per_epoch=5", "train.optimizer=sgd", "loss.cross_entropy=0.5")


@contextmanager
def two_workers(recipe: Path, *words: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Train as the command does in two processes, the chief first; they are killed at the end of the block."""
    with ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in free]
    command = [sys.executable, "-m", "kseg.train", str(recipe), *words]
    with ExitStack() as running:
        processes = []
        for index in range(2):
            environment = os.environ | {"TF_CONFIG": tf_config({"worker": addresses}, index=index)}
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            processes.append(running.enter_context(subprocess.Popen(command, env=environment, **pipes)))
            running.callback(processes[-1].kill)
        yield processes


def test_two_workers_train_as_one_and_after_a_loss_go_on(
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    train: Callable[..., Any],
    outcome: Callable[[RunFolder], Any],
    tmp_path: Path,
) -> None:
    one = tiny_recipe(*smallest, *STEPS, "name=one")
    train(one)
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(one), encoding="utf-8")

    with two_workers(path, "name=two") as processes:
        chief, other = processes
        first = []
        for line in chief.stderr:
            first.append(line)
            if "epoch    2" in line:
                other.kill()
                break
        said, of_other = "".join(first) + chief.communicate()[1], other.communicate()[1]
        assert chief.returncode == 1, said
    for number, lines in enumerate((said, of_other), start=1):
        shares = "a step takes 2 patches = 2 worker(s) x 1 device(s) x 1; this worker cuts number"
        beginning = lines.partition("epoch    1")[0]
        assert f"worker {number} of 2: {shares} {number} to {number} of them" in beginning
        assert "learning rate 0.05 goes with the step's 2 patches" in beginning
    assert "epoch    1" not in of_other  # the chief alone shows what both do
    line = r"kseg\.train: worker 1 of 2 ends because another has ended .*: start all of them again with --resume"
    assert re.fullmatch(line, said.strip().splitlines()[-1])
    assert "Traceback" not in said

    with two_workers(path, "name=two", "--resume") as processes:
        said, of_other = (process.communicate()[1] for process in processes)
        assert [process.returncode for process in processes] == [0, 0], said + of_other
    assert re.search(r"from epoch [345]\n", said)
    assert_alike(outcome(RunFolder(Path("saved_models/two"))), outcome(RunFolder(one.run_folder)))


def assert_alike(one: Any, other: Any) -> None:
    """Two outcomes are the same within what the order of a sum does."""
    (state, values, rows), (other_state, other_values, other_rows) = one, other
    assert state.epochs_done == other_state.epochs_done == 4
    assert len(values) == len(other_values)
    for value, other_value in zip(values, other_values, strict=True):
        np.testing.assert_allclose(value, other_value, rtol=1e-5, atol=1e-6)
    for row, other_row in zip(rows, other_rows, strict=True):
        assert row == pytest.approx(other_row, rel=1e-4, abs=1e-6)
