"""Which remote file systems TensorFlow can read, and what is said of those that it cannot."""

import os
from pathlib import Path

import pytest
import tensorflow as tf
from upath import UPath

from kseg.console.errors import InputError
from kseg.patches import file_systems
from kseg.patches.file_systems import open_file_system

FOLDER = UPath("memory://bucket/legs")


def test_a_local_folder_needs_nothing(tmp_path: Path) -> None:
    open_file_system(tmp_path)


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, "tensorflow-io is not installed"), ("0.37.1", "tensorflow-io 0.37.1 does not bring it")],
)
def test_what_is_missing_is_said_and_what_to_do(
    version: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> str:
        if version is None:
            raise file_systems.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(file_systems.metadata, "version", find)
    with pytest.raises(InputError) as raised:
        open_file_system(FOLDER)
    assert f"TensorFlow {tf.__version__} cannot read 'memory://bucket/legs' ({said}): " in str(raised.value)
    assert "set train.cache_dir" in str(raised.value)
    assert "pip install 'kseg[io]' in an environment of its own" in str(raised.value)


def test_the_store_is_the_one_that_fsspec_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.io.gfile, "get_registered_schemes", lambda: ["memory"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("S3_ENDPOINT", "")  # so that it is put back
    monkeypatch.delenv("S3_ENDPOINT")
    open_file_system(FOLDER)
    assert os.environ["S3_ENDPOINT"] == "http://127.0.0.1:9000"
    assert os.environ["AWS_REGION"] == "eu-central-1"
