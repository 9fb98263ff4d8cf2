"""A process that serves SavedModels as TF Serving does, by gRPC and REST; see README.md.

It prints its two ports as a line of JSON, then a line for each request that `--hold` makes wait, until it is killed.
"""

import argparse
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import json_tensors
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

CODES = {code.value[0]: code for code in grpc.StatusCode}
HTTP_STATUSES = {  # ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# tensorflow_serving/model_servers/http_rest_api_util.cc, without labels of versions
PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", re.IGNORECASE)
ABOUT = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+))?(?:/(metadata))?", re.IGNORECASE)


class Status(Exception):
    """An error with its code."""

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


class Queue:
    """The bounded queue of a batch scheduler, whose batches are single requests: `threads` run, `waiting` wait."""

    def __init__(self, threads: int, waiting: int):
        self._most = threads + waiting
        self._waiting = waiting
        self._threads = threading.Semaphore(threads)
        self._lock = threading.Lock()
        self._entered = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a thread; refuse a task that finds the queue full."""
        with self._lock:
            if self._entered >= self._most:
                # tensorflow/core/kernels/batching_util/shared_batch_scheduler.h, ValidateBatchTaskQueueCapacity
                raise Status(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; task size is 1 but "
                    f"scheduling capacity is only 0 (num_enqueued_batches={self._waiting}, "
                    f"max_enqueued_batches={self._waiting}, open_batch_size=1, max_execution_batch_size=1)",
                )
            self._entered += 1
        try:
            with self._threads:
                yield
        finally:
            with self._lock:
                self._entered -= 1


class Servable:
    """A version of a model, in a session as TF Serving has one: no check of shapes, types checked by the graph."""

    def __init__(self, path: Path):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = loaded.signature_def

    def run(self, signature: Any, inputs: dict[str, np.ndarray], wanted: list[str]) -> dict[str, np.ndarray]:
        options = config_pb2.CallableOptions()
        options.feed.extend(signature.inputs[name].name for name in inputs)
        options.fetch.extend(signature.outputs[name].name for name in wanted)
        try:
            # Session.run, and its make_callable, would check shapes first, in Python.
            outputs = self._session._make_callable_from_options(options)(*inputs.values())
        except tf.errors.OpError as error:
            raise Status(CODES[error.error_code], error.message) from None
        return dict(zip(wanted, outputs, strict=True))


class Core:
    """All models, and what is asked of them by either protocol."""

    def __init__(self, models: dict[str, Path], queue: Queue, hold: Path | None):
        self._servables = {
            name: {int(path.name): Servable(path) for path in folder.iterdir() if path.name.isdecimal()}
            for name, folder in models.items()
        }
        self._queue = queue
        self._hold = hold

    def servable(self, name: str, version: int | None) -> tuple[int, Servable]:
        versions = self._servables.get(name, {})
        number = max(versions, default=0) if version is None else version
        if number not in versions:  # tensorflow_serving/core/basic_manager.cc
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Status(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")
        return number, self._servables[name][number]

    def metadata(self, name: str, version: int | None, fields: list[str]) -> Any:
        # tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc
        if fields != ["signature_def"]:
            raise Status(
                grpc.StatusCode.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        number, servable = self.servable(name, version)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = name, number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in servable.signatures.items():
            signatures.signature_def[key].CopyFrom(signature)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def status(self, name: str, version: int | None) -> Any:
        # tensorflow_serving/model_servers/get_model_status_impl.cc
        versions = self._servables.get(name, {})
        if version is not None and version not in versions:
            raise Status(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not versions:
            raise Status(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in sorted(versions, reverse=True):
            if version in (None, number):
                one = response.model_version_status.add()
                one.version, one.state = number, get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return response

    def predict(
        self, name: str, version: int | None, signature_name: str, inputs: dict[str, np.ndarray], wanted: list[str]
    ) -> dict[str, np.ndarray]:
        # tensorflow_serving/servables/tensorflow/predict_util.cc
        _, servable = self.servable(name, version)
        key = signature_name or "serving_default"
        if key not in servable.signatures:
            raise Status(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        signature = servable.signatures[key]
        sent, known = set(inputs), set(signature.inputs)
        if len(sent) != len(known):
            raise Status(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input size does not match signature: {len(sent)}!={len(known)} len({{{','.join(sorted(sent))}}}) != "
                f"len({{{','.join(sorted(known))}}}). Sent extra: {{{','.join(sorted(sent - known))}}}. "
                f"Missing but required: {{{','.join(sorted(known - sent))}}}.",
            )
        for alias in inputs:
            if alias not in known:
                raise Status(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"input tensor alias not found in signature: {alias}. Inputs expected to be in the set "
                    f"{{{','.join(sorted(known))}}}.",
                )
        with self._queue.place():
            if self._hold is not None and self._hold.exists():
                # In one piece: print() writes a line and its end apart, and another request may come between them.
                os.write(sys.stdout.fileno(), b"held\n")
                while self._hold.exists():
                    time.sleep(0.01)
            return servable.run(signature, inputs, wanted or sorted(signature.outputs))


def version_of(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, core: Core):
        self._core = core

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        with told(context):
            spec = request.model_spec
            return self._core.metadata(spec.name, version_of(spec), list(request.metadata_field))

    def Predict(self, request: Any, context: Any) -> Any:
        with told(context):
            spec = request.model_spec
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            wanted = list(request.output_filter)
            outputs = self._core.predict(spec.name, version_of(spec), spec.signature_name, inputs, wanted)
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.signature_name = spec.name, spec.signature_name
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(as_proto_field(array))
            return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, core: Core):
        self._core = core

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        with told(context):
            return self._core.status(request.model_spec.name, version_of(request.model_spec))


@contextmanager
def told(context: Any) -> Iterator[None]:
    try:
        yield
    except Status as error:
        context.abort(error.code, str(error))


def as_proto_field(array: np.ndarray) -> Any:
    """Return a tensor as TF Serving answers: with values of its type's field (Tensor::AsProtoField), not with bytes."""
    tensor = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for length in array.shape:
        tensor.tensor_shape.dim.add().size = length
    values = array.reshape(-1)
    field = {"f": tensor.float_val, "i": tensor.int_val, "u": tensor.int_val}[array.dtype.kind]
    for first in range(0, len(values), 2**20):
        field.extend(values[first : first + 2**20].tolist())
    return tensor


def rest_handler(core: Core, timeout_seconds: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            match = ABOUT.fullmatch(self.path)
            self._reply(lambda: self._about(match) if match else malformed(self))

        def do_POST(self) -> None:
            body, match = self._body(), PREDICT.fullmatch(self.path)
            self._reply(lambda: self._predict(match, body) if match else malformed(self))

        def _about(self, match: re.Match[str]) -> bytes:
            name, version = unquote(match[1] or ""), int(match[2]) if match[2] else None
            if not name:
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
            if not match[3]:
                return json.dumps(as_json(core.status(name, version))).encode()
            response = core.metadata(name, version, ["signature_def"])
            signatures = get_model_metadata_pb2.SignatureDefMap()
            response.metadata["signature_def"].Unpack(signatures)
            metadata = {"signature_def": as_json(signatures)}
            return json.dumps({"model_spec": as_json(response.model_spec), "metadata": metadata}).encode()

        def _predict(self, match: re.Match[str], body: bytes) -> bytes:
            name, version = unquote(match[1]), int(match[2]) if match[2] else None
            try:
                document = json_tensors.parse(body)
                _, servable = core.servable(name, version)
                key = document.get("signature_name", "serving_default")
                if key not in servable.signatures:  # HttpRestApiHandler::GetInfoMap
                    raise json_tensors.InvalidArgument(f'Serving signature name: "{key}" not found in signature def')
                known = {alias: tf.as_dtype(info.dtype) for alias, info in servable.signatures[key].inputs.items()}
                inputs = json_tensors.tensors_of(document, known)
                outputs = within(timeout_seconds, lambda: core.predict(name, version, key, inputs, []))
                return json_tensors.answer(outputs)
            except json_tensors.InvalidArgument as error:
                raise Status(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while length := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def _reply(self, answer: Any) -> None:
            try:
                status, text = 200, answer()
            except Status as error:
                status = HTTP_STATUSES.get(error.code, 500)
                text = json.dumps({"error": str(error)}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


def malformed(request: BaseHTTPRequestHandler) -> bytes:
    raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {request.command} {request.path}")


def within(seconds: float, run: Any) -> Any:
    """Give up as --rest_api_timeout_in_ms makes a session do; the run itself goes on."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(run).result(seconds)
    except FutureTimeoutError:
        raise Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification") from None
    finally:
        pool.shutdown(wait=False)


def as_json(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER", help="a model, in versions 1, 2, ... of the folder")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--max-enqueued-batches", type=int, default=100)
    parser.add_argument("--rest-api-timeout-in-ms", type=int, default=30_000)
    parser.add_argument("--max-message-bytes", type=int, default=2**31 - 1, help="as SetMaxMessageSize in server.cc")
    parser.add_argument("--hold", type=Path, help="requests wait while this file is there")
    arguments = parser.parse_args()

    models = {name: Path(folder) for name, _, folder in (word.partition("=") for word in arguments.models)}
    core = Core(models, Queue(arguments.threads, arguments.max_enqueued_batches), arguments.hold)
    options = [
        ("grpc.max_receive_message_length", arguments.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(ThreadPoolExecutor(64), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(core), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core), server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(core, arguments.rest_api_timeout_in_ms / 1000))
    print(json.dumps({"grpc": grpc_port, "rest": http.server_port}), flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
