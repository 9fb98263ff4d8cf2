"""The two protocols by themselves: what a server refuses, what is never sent, and servers that are none."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import orjson
import pytest
from running import Server

from kseg.client import grpc, rest
from kseg.client.address import Address, address_of
from kseg.client.connection import Connection
from kseg.client.errors import TryLater
from kseg.client.retry import Deadline
from kseg.client.signatures import Signature
from kseg.console.errors import InputError

KINDS = {"grpc": grpc.GrpcConnection, "rest": rest.RestConnection}
PROTOCOLS = pytest.mark.parametrize("protocol", list(KINDS))
SPACING_MM = np.array([[1.1, 0.9, 0.5]], np.float32)
GENEROUS_SECONDS = 30


def connect(protocol: str, address: str, model: str = "leg") -> Connection:
    return KINDS[protocol](address_of(address, 1), model)


def signature(name: str, dtype: str = "u1", labels: str = "u1") -> Signature:
    return Signature(name, np.dtype(dtype), 1, np.dtype(labels))


@pytest.mark.parametrize(
    ("protocol", "name", "dtype", "complaint"),
    [
        ("grpc", "segment", "u1", "Type mismatch: actual uint8 vs. expect float"),
        ("rest", "segment_uint8", "f4", r"JSON Value: 0\.5 Type: Number is not of expected type: uint8"),
        ("rest", "segment_uint16", "u2", r"UNIMPLEMENTED: Conversion of JSON Value: 0 to type: uint16"),
        ("grpc", "segment_uint7", "u1", 'FAILED_PRECONDITION: Serving signature key "segment_uint7" not found'),
        ("rest", "segment_uint7", "u1", 'Serving signature name: "segment_uint7" not found in signature def'),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words_and_not_tried_again(
    protocol: str, name: str, dtype: str, complaint: str, server: Server
) -> None:
    voxels = np.full((1, 2, 3, 4, 1), 0.5).astype(dtype)
    predict = connect(protocol, server.address(protocol)).prediction(signature(name), voxels, SPACING_MM, iter)
    with pytest.raises(InputError, match=f"the model at .* refuses the request .*{complaint}") as error:
        predict(Deadline.within(GENEROUS_SECONDS))
    assert not isinstance(error.value, TryLater)


@PROTOCOLS
def test_a_wrong_rank_is_told(protocol: str, server: Server) -> None:
    """The spacing lacks its batch: TensorFlow looks at shapes where it computes with them."""
    spacing_mm = np.ones((1,), np.float32) if protocol == "grpc" else np.ones((1, 1, 3), np.float32)
    voxels = np.zeros((1, 2, 3, 4, 1), np.uint8)
    predict = connect(protocol, server.address(protocol)).prediction(
        signature("segment_uint8"), voxels, spacing_mm, iter
    )
    with pytest.raises(InputError, match=r"refuses the request \(INVALID_ARGUMENT"):
        predict(Deadline.within(GENEROUS_SECONDS))


@pytest.mark.parametrize(
    ("protocol", "edge", "channels", "dtype", "labels", "complaint"),
    [
        ("grpc", 1300, 1, "u1", "u1", r"2\.0 GiB of voxels or labels do not fit into a message of gRPC"),
        ("grpc", 900, 1, "f4", "u1", r"2\.7 GiB"),
        ("grpc", 900, 3, "u1", "u1", r"2\.0 GiB"),
        ("grpc", 1100, 1, "u1", "u2", r"2\.5 GiB"),
        ("rest", 1300, 1, "u1", "u1", r"2197000000 voxels are more than TF Serving takes by REST"),
    ],
)
def test_a_volume_that_no_message_holds_is_refused_before_it_is_read(
    protocol: str, edge: int, channels: int, dtype: str, labels: str, complaint: str
) -> None:
    connection = connect(protocol, "127.0.0.1:9")
    connection.check_size(signature("segment", dtype, labels), (edge, edge, edge // 4), channels)
    with pytest.raises(InputError, match=f"{complaint}.*: crop the scan, or segment it with python -m"):
        connection.check_size(signature("segment", dtype, labels), (edge, edge, edge), channels)


def test_floats_in_json_are_read_back_to_the_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 10**5, np.uint32)
    floats = bits.view(np.float32)
    floats = floats[np.isfinite(floats)].reshape(1, -1)
    sent = b"".join(_body_of("f4", floats))
    np.testing.assert_array_equal(np.float32(orjson.loads(sent)["instances"][0]["voxels"][0]), floats[0])


def _body_of(dtype: str, plane: np.ndarray) -> Iterator[bytes]:
    """Return what is sent of a volume of one plane, instead of sending it."""
    connection = rest.RestConnection(Address("127.0.0.1", 9), "leg")
    sent: list[bytes] = []

    def ask(_method: str, _path: str, _deadline: Deadline, body: Iterator[bytes]) -> dict:
        sent.extend(body)
        return {"predictions": [[[[0]]]]}

    connection._ask = ask  # type: ignore[method-assign]
    connection.prediction(signature("segment", dtype), plane[np.newaxis], SPACING_MM, iter)(Deadline.within(1))
    return iter(sent)


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port and let `serve` have each connection; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=handle, args=(listening.accept()[0],), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def never_answer(connection: socket.socket) -> None:
    while connection.recv(2**16):
        pass


def dribble(connection: socket.socket) -> None:
    """Answer a byte at a time, so that no single wait is long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def refuse_unread(connection: socket.socket) -> None:
    """Answer before the request was read, as a proxy does with one that is too large."""
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(2**16):
        pass


@pytest.mark.parametrize(("protocol", "serve"), [("grpc", never_answer), ("rest", never_answer), ("rest", dribble)])
def test_a_deadline_holds_whatever_the_server_does(protocol: str, serve: Callable[[socket.socket], None]) -> None:
    began = time.monotonic()
    with listener(serve) as address, pytest.raises(InputError, match=f"no answer from {address} within 1 s"):
        connect(protocol, address).metadata(Deadline.within(1))
    assert time.monotonic() - began < GENEROUS_SECONDS


def test_a_body_that_nobody_reads_ends_at_the_deadline() -> None:
    began = time.monotonic()
    voxels = np.zeros((1, 64, 256, 256, 1), np.uint8)  # more than a socket's buffers hold
    with listener(lambda _: time.sleep(GENEROUS_SECONDS)) as address:
        predict = connect("rest", address).prediction(signature("segment_uint8"), voxels, SPACING_MM, iter)
        with pytest.raises(InputError, match=f"no answer from {address} within 1 s"):
            predict(Deadline.within(1))
    assert time.monotonic() - began < GENEROUS_SECONDS


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        ("200 OK", b"<html>hello</html>", r"does not answer as TF Serving does \(status 200: <html>hello</html>\)"),
        ("200 OK", b'{"a": 1}', r"no 'metadata' in its answer"),
        ("404 Not Found", b"<html>no</html>", r"does not answer as TF Serving does \(status 404"),
        ("503 Service Unavailable", b"later", r"cannot take the request now \(later\)"),
    ],
)
def test_a_server_that_is_none_of_tf_servings_is_told(status: str, body: bytes, complaint: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(2**16)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with listener(serve) as address, pytest.raises(InputError, match=complaint):
        connect("rest", address).metadata(Deadline.within(GENEROUS_SECONDS))


def test_an_answer_before_the_end_of_the_request_is_read() -> None:
    voxels = np.zeros((1, 64, 256, 256, 1), np.uint8)
    with listener(refuse_unread) as address:
        predict = connect("rest", address).prediction(signature("segment_uint8"), voxels, SPACING_MM, iter)
        with pytest.raises(InputError, match=r"does not answer as TF Serving does \(status 413: too large\)"):
            predict(Deadline.within(GENEROUS_SECONDS))


@PROTOCOLS
def test_the_other_protocols_port_is_told(protocol: str, server: Server) -> None:
    other = server.address("rest" if protocol == "grpc" else "grpc")
    with pytest.raises(InputError, match="--protocol" if protocol == "grpc" else "127.0.0.1") as error:
        connect(protocol, other).metadata(Deadline.within(GENEROUS_SECONDS))
    assert str(error.value).isprintable()
