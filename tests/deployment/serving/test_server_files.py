"""What TensorFlow Serving reads beside the versions: as its own classes read it."""

import re
from pathlib import Path

import pytest
from google.protobuf import text_format

from kseg.deployment.serving.server_files import write_server_files
from kseg.storage.listing import is_listed


def test_models_config_is_the_servers_own_message(tmp_path: Path) -> None:
    write_server_files(tmp_path, "leg.v-2_a")
    assert is_listed(tmp_path, "models.config")
    assert is_listed(tmp_path, "batching.config")
    pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2", reason="needs kseg[serving]")
    read = text_format.Parse((tmp_path / "models.config").read_text(encoding="utf-8"), pb2.ModelServerConfig())
    (config,) = read.model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("leg.v-2_a", "/models/leg.v-2_a", "tensorflow")
    assert config.model_version_policy.latest.num_versions == 1


def test_batching_config_never_merges_volumes_and_bounds_what_waits(tmp_path: Path) -> None:
    # BatchingParameters is not among the classes on PyPI: each line is a field that wraps a number.
    write_server_files(tmp_path, "leg")
    text = (tmp_path / "batching.config").read_text(encoding="utf-8")
    numbers = dict(re.findall(r"^(\w+) \{ value: (\d+) \}", text, re.MULTILINE))
    assert numbers == {
        "max_batch_size": "1",
        "batch_timeout_micros": "0",
        "num_batch_threads": "1",
        "max_enqueued_batches": "4",
    }
    assert all(line.startswith("#") or "{ value:" in line for line in text.splitlines())
