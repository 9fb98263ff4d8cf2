"""A model that is still being loaded, or could not be; deadlines that go by a scan's size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from kseg.client import retry, server_predictor
from kseg.client.address import Address
from kseg.client.errors import Missing
from kseg.client.rest import RestConnection
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
    described: Any = field(default_factory=lambda: SEGMENT)
    version: int | None = None
    gone: bool = False

    def metadata(self, _: Deadline) -> Mapping[str, Any]:
        if self.versions:
            raise Missing("Servable not found for request: Latest(leg)")
        return self.described

    def status(self, _: Deadline) -> list[dict]:
        return self.versions.pop(0)

    def check_size(self, _: Signature, shape: tuple[int, ...], __: int) -> None:
        if max(shape) > 1000:
            raise InputError("too large")

    def prediction(self, _: Signature, voxels: np.ndarray, *__: object) -> Callable[[Deadline], np.ndarray]:
        def predict(deadline: Deadline) -> np.ndarray:
            self.deadlines.append(deadline)
            if self.gone:
                raise Missing("Servable not found for request: Specific(leg, 3)")
            return np.zeros(voxels.shape[:4], np.uint8)

        return predict


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ServerPredictor, Connection]]:
    """Make a source of a connection to a model whose versions are these, one list for each time they are asked for."""

    def make(
        *versions: list[dict], described: Any = SEGMENT, version: int | None = None, **options: float
    ) -> tuple[ServerPredictor, Connection]:
        connection = Connection(list(versions), described=described, version=version)
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


@pytest.mark.parametrize(
    "described",
    [{"segment": None}, {"segment": []}, [], None, {"segment": {"inputs": 3}}, 7]
    + [{"segment": SEGMENT["segment"] | {"inputs": {"voxels": x, "spacing_mm": {}}}} for x in (None, 3, {"dtype": []})],
)
def test_what_tf_serving_does_not_say_of_a_model_is_one_line(described: object, served: Callable) -> None:
    with pytest.raises(InputError) as caught:
        served(described=described)
    assert "\n" not in str(caught.value)


def test_the_version_is_told_and_stays(served: Callable) -> None:
    ready, connection = served(version=3)
    assert ready.identity["version"] == 3
    assert ready.start().startswith("model 'leg', version 3, at gpu1:8500 segments scans")
    ready.segment(scan(4, 5, 6), "first", iter)
    connection.gone = True
    with pytest.raises(InputError, match=r"^'second': .*version 3, which was there when the command began, is gone"):
        ready.segment(scan(4, 5, 6), "second", iter)
    asked = len(connection.deadlines)
    with pytest.raises(InputError, match=r"^'third': .* is gone: run it again"):
        ready.segment(replace(scan(4, 5, 6), read=None), "third", iter)  # which is not read
    assert len(connection.deadlines) == asked
    unknown, connection = served()
    connection.gone = True
    with pytest.raises(InputError, match=r"^'first': Servable not found for request: Specific\(leg, 3\)$"):
        unknown.segment(scan(4, 5, 6), "first", iter)


@pytest.mark.parametrize(
    ("told", "version"),
    [({"version": "3"}, 3), ({}, None), ({"version": "x"}, None), ({"version": None}, None), (7, None)],
)
def test_by_rest_the_version_is_asked_that_was_described(
    told: object, version: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def ask(_: RestConnection, __: str, path: str, *___: object) -> object:
        asked.append(path)
        return {"model_spec": told, "metadata": {"signature_def": {"signature_def": SEGMENT}}, "predictions": [[[[0]]]]}

    monkeypatch.setattr(RestConnection, "_ask", ask)
    connection = RestConnection(Address("gpu1", 8501), "leg")
    assert connection.metadata(Deadline.within(1)) == SEGMENT
    assert connection.version == version
    signature = Signature("segment", np.dtype("f4"), 1, np.dtype("u1"))
    voxels = np.zeros((1, 1, 1, 1, 1), np.float32)
    connection.prediction(signature, voxels, np.ones((1, 3), np.float32), iter)(Deadline.within(1))
    assert asked == ["/v1/models/leg/metadata", f"/v1/models/leg{'/versions/3' if version else ''}:predict"]


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
