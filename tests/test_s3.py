"""Shards in `s3://`: prepared to it, trained from it, scored from it, against a server of moto's on this machine.

`make test-s3` runs them in an environment of their own (`kseg[io]`); elsewhere they are skipped.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from printed import last_json

pytest.importorskip("tensorflow_io", reason="needs kseg[io], in an environment of its own: make test-s3")
pytest.importorskip("moto.server", reason="needs moto: make test-s3")

from moto.server import ThreadedMotoServer
from upath import UPath

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tiny(tiny_words: tuple[str, ...]) -> list[str]:
    """Words that make a command short."""
    return [*tiny_words, "train.epochs=2", "train.steps_per_epoch=2", "train.validation_patches=2"]


@pytest.fixture(scope="module")
def store() -> Iterator[UPath]:
    """An empty bucket; processes that tests start find it by their environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        bucket = UPath("s3://laboratory/", use_listings_cache=False)
        bucket.fs.mkdir("laboratory")
        yield bucket
    server.stop()


@pytest.fixture(scope="module")
def dataset(tiny: list[str], store: UPath, tmp_path_factory: pytest.TempPathFactory) -> UPath:
    said = kseg("prepare", *tiny, f"data.records={store / 'legs'}", "--workers", "2", cwd=tmp_path_factory.mktemp("w"))
    assert "prepared s3://laboratory/legs: 3 train, 1 val, 1 test" in said
    return store / "legs"


def start(command: str, *words: str, cwd: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", f"kseg.{command}", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kseg(command: str, *words: str, cwd: Path, status: int = 0) -> str:
    """Run a command and return all that it printed."""
    process = start(command, *words, cwd=cwd)
    out, said = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said + out


def history(folder: Path) -> list[list[str]]:
    """What training wrote of its epochs, without what depends on the clock."""
    rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    kept = [number for number, name in enumerate(rows[0]) if name not in ("step_seconds", "input_wait")]
    return [[row[number] for number in kept] for row in rows]


def contents(folder: UPath | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_bytes_are_those_of_a_disk(tiny: list[str], dataset: UPath, tmp_path: Path) -> None:
    kseg("prepare", *tiny, "data.records=legs", cwd=tmp_path)
    assert contents(dataset) == contents(tmp_path / "legs")
    assert [path.name for path in dataset.parent.iterdir() if path.name.startswith(".")] == []
    assert "the shards of 5 cases are as they were prepared" in kseg(
        "prepare", *tiny, f"data.records={dataset}", "--verify", cwd=tmp_path
    )


def test_killed_at_any_moment_and_run_again_it_ends_with_the_same_bytes(
    tiny: list[str], dataset: UPath, store: UPath, tmp_path: Path
) -> None:
    words = [*tiny, f"data.records={store / 'killed'}"]
    began = time.monotonic()
    kseg("prepare", *tiny, f"data.records={store / 'timed'}", cwd=tmp_path)
    whole = time.monotonic() - began
    for share in (0.5, 0.7, 0.8, 0.9):
        process = start("prepare", *words, "--workers", "2", cwd=tmp_path)
        time.sleep(share * whole)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kseg("prepare", *words, cwd=tmp_path)
    assert contents(store / "killed") == contents(dataset)


def test_training_from_s3_is_training_from_a_disk(tiny: list[str], dataset: UPath, tmp_path: Path) -> None:
    """Through tensorflow-io, through a cache, and from a disk: the same patches, the same curves."""
    kseg("prepare", *tiny, "data.records=legs", cwd=tmp_path)
    remote = f"data.records={dataset}"
    kseg("train", *tiny, "name=disk", "data.records=legs", cwd=tmp_path)
    kseg("train", *tiny, "name=remote", remote, cwd=tmp_path)
    assert "copying 4 shards" in kseg("train", *tiny, "name=cached", remote, "train.cache_dir=cache", cwd=tmp_path)
    runs = {name: tmp_path / "saved_models" / name for name in ("disk", "remote", "cached")}
    assert history(runs["disk"]) == history(runs["remote"]) == history(runs["cached"])
    kseg("train", *tiny, "name=cached", remote, "train.epochs=3", "--resume", cwd=tmp_path)
    assert len(history(runs["cached"])) == 1 + 3
    said = kseg("evaluate", "remote", "--json", cwd=tmp_path)
    local = kseg("evaluate", "remote", "--records", "legs", "--json", cwd=tmp_path)
    assert last_json(said)["summary"] == last_json(local)["summary"]


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ("s3://laboratory/none", "'s3://laboratory/none' holds no prepared dataset (no manifest.json)"),
        ("s3://no-such-bucket/legs", "'s3://no-such-bucket/legs' "),
        ("s3://laboratory", "'s3://laboratory' names no folder: name one within it, such as 's3://laboratory/legs'"),
    ],
)
def test_what_is_not_there_is_one_line(
    tiny: list[str], records: str, complaint: str, store: UPath, tmp_path: Path
) -> None:
    said = kseg("train", *tiny, f"data.records={records}", cwd=tmp_path, status=2)
    assert said.startswith(f"kseg.train: {complaint}")
    assert len(said.splitlines()) == 1


def test_a_bucket_that_is_not_there_is_one_line_for_prepare_too(tiny: list[str], store: UPath, tmp_path: Path) -> None:
    said = kseg("prepare", *tiny, "data.records=s3://no-such-bucket/legs", cwd=tmp_path, status=2)
    assert said.splitlines()[-1].startswith("kseg.prepare: 's3://no-such-bucket/")
    assert "cannot be reached (The specified bucket does not exist): check its name" in said


def test_a_server_that_is_not_there_is_one_line(
    tiny: list[str], store: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    said = kseg("train", *tiny, "data.records=s3://laboratory/legs", cwd=tmp_path, status=2)
    assert said.startswith("kseg.train: 's3://laboratory/legs' cannot be reached (")
    assert len(said.splitlines()) == 1
