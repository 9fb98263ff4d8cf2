"""TF Serving by REST: tensors as nested lists of numbers in JSON.

By Python's own client of HTTP: it sends a body in pieces, so that JSON needs no memory, and shows its socket, which a
deadline can shut (timeouts of requests, urllib3 and httpx are of single waits). Bodies are not compressed: TF Serving
reads 10 MB of a compressed one, later versions 100 (tensorflow_serving/util/net_http/compression/gzip_zlib.h).
"""

import json
import math
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import numpy as np

from kseg.client.address import Address
from kseg.client.connection import Prediction
from kseg.client.errors import broken, no_answer_of_tf_serving, server_error, too_large, too_late, unreachable
from kseg.client.retry import Deadline, not_installed
from kseg.client.signatures import Signature
from kseg.console.errors import InputError
from kseg.deployment.tensor_names import LABELS, SPACING, VOXELS
from kseg.inference.predictor import Progress

PORT = 8501
MAX_REQUEST_VOXELS = 2**31 - 1
"""TF Serving counts the numbers of a tensor in 32 bits."""
CONNECT_SECONDS = 10.0
MAX_SHOWN = 1000

CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Of `ToHTTPStatusCode` in tensorflow_serving/model_servers/http_server.cc."""


class RestConnection:
    """A `Connection` by REST.

    Args:
        address: of the server.
        model: name of the model.
        version: of the model; None for the newest.

    Raises:
        InputError: `kseg[serving]` is not installed.
    """

    # Those of AddValueToTensor and AddSingleValueAndAdvance in tensorflow_serving/util/json_tensor.cc: not uint16.
    types = frozenset(map(np.dtype, ("u1", "i1", "i2", "u4", "i4", "u8", "i8", "f4", "f8")))

    def __init__(self, address: Address, model: str, version: int | None = None):
        try:
            import orjson
        except ImportError as error:
            raise not_installed(error) from None
        self._orjson = orjson
        self.address, self.version = address, version
        self._path = f"/v1/models/{quote(model, safe='')}"

    def metadata(self, deadline: Deadline) -> Mapping[str, Any]:
        """Return the model's signatures; see `Connection`."""
        answer = self._ask("GET", f"{self._path}{self._of_version}/metadata", deadline)
        described = self._entry(answer, "metadata", "signature_def", "signature_def")
        if self.version is None and "model_spec" in answer:
            with suppress(TypeError, ValueError, InputError):
                self.version = int(self._entry(answer, "model_spec", "version"))
        return described

    def status(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        """Return the versions of the model; see `Connection`."""
        return self._entry(self._ask("GET", self._path, deadline), "model_version_status")

    def check_size(self, signature: Signature, shape: Sequence[int], channels: int) -> None:
        """Refuse what TF Serving cannot count; see `Connection`."""
        if (voxels := math.prod(shape) * channels) > MAX_REQUEST_VOXELS:
            raise too_large(f"{voxels} voxels are more than TF Serving takes by REST, {MAX_REQUEST_VOXELS}")

    def prediction(
        self, signature: Signature, voxels: np.ndarray, spacing_mm: np.ndarray, progress: Progress
    ) -> Prediction:
        """Return a request for labels; see `Connection`."""

        def body() -> Iterator[bytes]:
            # In the other format, of 'inputs', TF Serving would answer with a line for each voxel, some 25 bytes.
            yield b'{"signature_name":"%s","instances":[{' % signature.name.encode()
            yield b'"%s":%s,"%s":[' % (SPACING.encode(), self._list(spacing_mm[0]), VOXELS.encode())
            for number, plane in enumerate(progress(voxels[0])):
                yield b"," * (number > 0) + self._list(plane)
            yield b"]}]}"

        def predict(deadline: Deadline) -> np.ndarray:
            answer = self._ask("POST", f"{self._path}{self._of_version}:predict", deadline, body())
            return self._array(self._entry(answer, "predictions"), signature.labels_dtype)

        return predict

    @property
    def _of_version(self) -> str:
        return "" if self.version is None else f"/versions/{self.version}"

    def _list(self, array: np.ndarray) -> bytes:
        """Nested lists; of floats the shortest decimals that are read back as the same float32."""
        return self._orjson.dumps(np.ascontiguousarray(array), option=self._orjson.OPT_SERIALIZE_NUMPY)

    def _array(self, predictions: Any, dtype: np.dtype) -> np.ndarray:
        """Labels `(1, x, y, z)` from nested lists: a plane at a time, since NumPy looks at all of a list first."""
        try:
            (labels,) = predictions
            if isinstance(labels, dict):  # there are other outputs beside them
                labels = labels[LABELS]
            return np.stack([np.array(plane, dtype) for plane in labels])[np.newaxis]
        except (TypeError, ValueError, OverflowError, KeyError) as error:
            raise no_answer_of_tf_serving(self.address, f"labels are no array of {dtype}: {error}") from None

    def _entry(self, answer: Any, *keys: str) -> Any:
        for key in keys:
            if not isinstance(answer, dict) or key not in answer:
                raise no_answer_of_tf_serving(self.address, f"no '{key}' in its answer")
            answer = answer[key]
        return answer

    def _ask(self, method: str, path: str, deadline: Deadline, body: Iterable[bytes] | None = None) -> Any:
        """Make a request on a connection of its own, and return the JSON of its answer."""
        with self._connection(deadline) as connection:
            with suppress(BrokenPipeError):  # a server, or a proxy, may answer before it has read everything
                connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            text = response.read()  # in one, since a part that is cut short is no error to `http.client`
        try:
            answer = json.loads(text)  # takes a third of orjson's memory: 9 bytes a voxel
        except (ValueError, RecursionError):
            answer = None
        code = CODES.get(response.status, "UNKNOWN")
        if isinstance(answer, dict) and isinstance(answer.get("error"), str):
            raise server_error(self.address, code, answer["error"])
        said = text[:MAX_SHOWN].decode(errors="replace")
        if code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):  # a proxy says so, too
            raise server_error(self.address, code, said)
        if response.status != HTTPStatus.OK or answer is None:
            raise no_answer_of_tf_serving(self.address, f"status {response.status}: {said}")
        return answer

    @contextmanager
    def _connection(self, deadline: Deadline) -> Iterator[HTTPConnection]:
        """Open a connection for one request; at its deadline the socket is shut, whatever waits for it."""
        connection = HTTPConnection(*self.address, timeout=min(deadline.left(), CONNECT_SECONDS))
        late = threading.Event()
        try:
            connection.connect()
        except OSError as error:
            raise unreachable(self.address, str(error)) from None
        opened: socket.socket = connection.sock
        opened.settimeout(None)

        def shut() -> None:
            late.set()
            with suppress(OSError):  # it is closed already
                opened.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(deadline.left(), shut)
        watch.daemon = True
        watch.start()
        try:
            yield connection
        except (OSError, HTTPException) as error:
            if late.is_set():
                raise too_late(self.address, deadline.seconds) from None
            raise broken(self.address, str(error) or type(error).__name__) from None
        finally:
            watch.cancel()
            connection.close()
