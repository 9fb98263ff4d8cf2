"""TF Serving by gRPC: its own service definition, tensors as raw bytes."""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kseg.client.address import Address
from kseg.client.connection import Prediction
from kseg.client.errors import (
    broken,
    is_of_a_queue,
    no_answer_of_tf_serving,
    server_error,
    too_large,
    too_late,
    unreachable,
)
from kseg.client.retry import Deadline, not_installed
from kseg.client.signatures import DTYPES, Signature
from kseg.console.tensorflow_start import start_tensorflow
from kseg.deployment.tensor_names import LABELS, SPACING, VOXELS
from kseg.inference.predictor import Progress

PORT = 8500
MAX_BYTES = 2**31 - 2**16
"""Of a volume in a message: protobuf writes and reads no message of 2 GiB, and the rest of it takes some."""
TICK_SECONDS = 0.2
FAILED = re.compile("failed to connect|resol|http1|HTTP/2", re.IGNORECASE)
"""What gRPC says of a connection that was never made."""

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # 4 MB by default: less than most label maps
    # `with_retries` asks again: gRPC itself would keep a copy of the volume for that, and takes a message that is
    # too large for a memory that is full, which have one code.
    ("grpc.enable_retries", 0),
    # A server that starts again is found at once, and one that never answers given up.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # the time that gRPC gives a connection to be made
    # Proxies of the environment are for the internet; a model server is in the same network.
    ("grpc.enable_http_proxy", 0),
)


class GrpcConnection:
    """A `Connection` by gRPC.

    Args:
        address: of the server.
        model: name of the model.
        version: of the model; None for the newest.

    Raises:
        InputError: `kseg[serving]` is not installed.
    """

    types = frozenset(np.dtype(dtype) for dtype in DTYPES.values())

    def __init__(self, address: Address, model: str, version: int | None = None):
        start_tensorflow()  # TF Serving's messages hold TensorFlow's
        try:
            import grpc
            from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
        except ImportError as error:
            raise not_installed(error) from None
        self.address, self.version = address, version
        self._model = model
        channel = grpc.insecure_channel(str(address), OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def metadata(self, deadline: Deadline) -> Mapping[str, Any]:
        """Return the model's signatures; see `Connection`."""
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = self._about_the_model(get_model_metadata_pb2.GetModelMetadataRequest())
        request.metadata_field.append("signature_def")
        response = self._ask(self._predictions.GetModelMetadata, request, deadline)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            is_there = response.metadata["signature_def"].Unpack(signatures)
        except DecodeError as error:
            raise no_answer_of_tf_serving(self.address, f"the model's metadata are damaged: {error}") from None
        if not is_there:
            raise no_answer_of_tf_serving(self.address, "no 'signature_def' in the model's metadata")
        if self.version is None and response.model_spec.HasField("version"):
            self.version = response.model_spec.version.value
        return _as_json(signatures).get("signature_def", {})

    def status(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        """Return the versions of the model; see `Connection`."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        return _as_json(self._ask(self._models.GetModelStatus, request, deadline)).get("model_version_status", [])

    def check_size(self, signature: Signature, shape: Sequence[int], channels: int) -> None:
        """Refuse what fits into no message; see `Connection`."""
        voxel_bytes = max(channels * signature.dtype.itemsize, signature.labels_dtype.itemsize)
        if (nbytes := math.prod(shape) * voxel_bytes) > MAX_BYTES:
            raise too_large(
                f"{nbytes / 2**30:.1f} GiB of voxels or labels do not fit into a message of gRPC, which ends at 2 GiB"
            )

    def prediction(
        self, signature: Signature, voxels: np.ndarray, spacing_mm: np.ndarray, progress: Progress
    ) -> Prediction:
        """Return a request for labels; see `Connection`."""
        from tensorflow import make_ndarray
        from tensorflow_serving.apis import predict_pb2

        request = self._about_the_model(predict_pb2.PredictRequest())
        request.model_spec.signature_name = signature.name
        request.output_filter.append(LABELS)
        for name, array in ((VOXELS, voxels), (SPACING, spacing_mm)):
            _fill(request.inputs[name], array)

        def predict(deadline: Deadline) -> np.ndarray:
            outputs = self._ask(self._predictions.Predict, request, deadline, progress).outputs
            if LABELS not in outputs:
                raise no_answer_of_tf_serving(self.address, f"no output '{LABELS}'")
            labels = outputs[LABELS]
            if (shape := [axis.size for axis in labels.tensor_shape.dim]) != list(voxels.shape[:-1]):
                raise no_answer_of_tf_serving(
                    self.address, f"labels of shape {tuple(shape)} for voxels of shape {voxels.shape[:-1]}"
                )
            try:
                return make_ndarray(labels)
            except (TypeError, ValueError) as error:
                raise no_answer_of_tf_serving(self.address, f"labels are no array: {error}") from None

        return predict

    def _about_the_model(self, request: Any) -> Any:
        request.model_spec.name = self._model
        if self.version is not None:
            request.model_spec.version.value = self.version
        return request

    def _ask(self, method: Any, request: Any, deadline: Deadline, progress: Progress = iter) -> Any:
        """Make a request; `progress` is passed a mark now and then while it waits."""
        import grpc

        call = method.future(request, timeout=deadline.left())
        try:
            for _ in progress(_marks(call.add_done_callback)):
                pass
            return call.result()
        except grpc.RpcError as error:
            code, text = error.code(), error.details() or ""
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise too_late(self.address, deadline.seconds) from None
            if code == grpc.StatusCode.UNAVAILABLE and not is_of_a_queue(text):  # gRPC's own, of the connection
                raise (unreachable if FAILED.search(text) else broken)(self.address, _reason(text)) from None
            raise server_error(self.address, code.name, text) from None
        finally:
            call.cancel()  # so that a server does not work for a user who has gone


def _marks(when_done: Callable[[Callable[[Any], None]], None]) -> Iterator[None]:
    """Yield something every now and then until a call is done."""
    done = threading.Event()
    when_done(lambda _: done.set())
    while not done.wait(TICK_SECONDS):
        yield


def _fill(tensor: Any, array: np.ndarray) -> None:
    """Put an array into a `TensorProto` in place: `make_tensor_proto` would make one more copy of a volume."""
    from tensorflow import as_dtype

    tensor.dtype = as_dtype(array.dtype).as_datatype_enum
    for length in array.shape:
        tensor.tensor_shape.dim.add().size = length
    tensor.tensor_content = array.tobytes()


def _as_json(message: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def _reason(text: str) -> str:
    """Return what matters of gRPC's "failed to connect to all addresses; last error: UNKNOWN: ipv4:...: reason"."""
    return text.rpartition("last error: ")[2]
