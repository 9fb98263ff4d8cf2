"""A model that is still being loaded, or could not be; deadlines that go by a scan's size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from kseg.client import retry, server_predictor
from kseg.client.address import Address
from kseg.client.errors import Missing
from kseg.client.retry import Deadline
from kseg.client.server_predictor import ServerPredictor
from kseg.client.signatures import DTYPES, Signature
from kseg.console.errors import InputError
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_volume


def tensor(dtype: str, axes: int) -> dict:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": "-1"}] * axes}}


SEGMENT = {
    "segment": {
        "inputs": {"voxels": tensor("DT_FLOAT", 5), "spacing_mm": tensor("DT_FLOAT", 2)},
        "outputs": {"labels": tensor("DT_UINT8", 4)},
    }
}


@dataclass
class Connection:
    """Answers with what was laid before it: the versions of a model, until one is available."""

    versions: list[list[dict]]
    address = Address("gpu1", 8500)
    types = frozenset(np.dtype(dtype) for dtype in DTYPES.values())
    deadlines: list[Deadline] = field(default_factory=list)

    def metadata(self, _: Deadline) -> Mapping[str, Any]:
        if self.versions:
            raise Missing("Servable not found for request: Latest(leg)")
        return SEGMENT

    def status(self, _: Deadline) -> list[dict]:
        return self.versions.pop(0)

    def check_size(self, _: Signature, shape: tuple[int, ...], __: int) -> None:
        if max(shape) > 1000:
            raise InputError("too large")

    def prediction(self, _: Signature, voxels: np.ndarray, *__: object) -> Callable[[Deadline], np.ndarray]:
        def predict(deadline: Deadline) -> np.ndarray:
            self.deadlines.append(deadline)
            return np.zeros(voxels.shape[:4], np.uint8)

        return predict


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ServerPredictor, Connection]]:
    """Make a source of a connection to a model whose versions are these, one list for each time they are asked for."""

    def make(*versions: list[dict], **options: float) -> tuple[ServerPredictor, Connection]:
        connection = Connection(list(versions))
        monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 1e-3)
        monkeypatch.setattr(server_predictor, "_connect", lambda *_: connection)
        return ServerPredictor("gpu1", "leg", "grpc", **options), connection

    return make


def scan(*shape: int) -> VolumeStream:
    geometry = StoredGeometry(shape, np.eye(4), ".nii")
    return stream_of_volume(Volume(np.zeros(shape, np.uint8), np.eye(4), geometry))


def test_a_model_that_is_being_loaded_is_waited_for(served: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    loading = [{"version": "2", "state": "LOADING"}]
    ready, _ = served(loading, loading)
    assert ready.channels is None
    assert "model 'leg' at gpu1:8500 is being loaded: its versions are 2 (LOADING)" in capsys.readouterr().err


def test_a_model_that_could_not_be_loaded_is_one_line_with_the_reason(served: Callable) -> None:
    failed = [{"version": "1", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "Op type X"}}]
    with pytest.raises(InputError, match=r"cannot be used \(its versions are 1 \(END\); Op type X\): see the server's"):
        served(failed)


def test_a_scan_that_is_too_large_is_not_read(served: Callable) -> None:
    ready, _ = served()
    unread = replace(scan(1, 1, 1001), read=None)
    with pytest.raises(InputError, match="'scan': too large"):
        ready.segment(unread, "scan", iter)


def test_a_deadline_goes_by_the_size_of_a_scan_unless_the_user_gives_it(served: Callable) -> None:
    ready, connection = served()
    ready.segment(scan(100, 100, 50), "scan", iter)  # half a million voxels
    assert connection.deadlines[-1].seconds == 600 + 5
    ready, connection = served(deadline_seconds=7.5)
    ready.segment(scan(4, 5, 6), "scan", iter)
    assert connection.deadlines[-1].seconds == 7.5
