"""Addresses, and the lines that a server's errors become."""

import pytest

from kseg.client.address import Address, address_of
from kseg.client.errors import Busy, Missing, TryLater, server_error
from kseg.console.errors import InputError

HERE = Address("gpu1", 8500)


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("gpu1", ("gpu1", 8500)),
        ("gpu1:9000", ("gpu1", 9000)),
        ("10.0.0.7:1", ("10.0.0.7", 1)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::1]", ("::1", 8500)),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(server: str, address: tuple[str, int]) -> None:
    assert address_of(server, 8500) == address


def test_an_address_is_written_as_it_is_read() -> None:
    for address in (Address("gpu1", 8500), Address("::1", 9000)):
        assert address_of(str(address), 1) == address


@pytest.mark.parametrize(
    "server", ["", ":8500", "gpu1:", "gpu1:x", "gpu1:99999", "http://gpu1", "a@gpu1:1", "gpu1/x", "::1"]
)
def test_what_is_no_address_is_one_line(server: str) -> None:
    with pytest.raises(InputError, match="--server must be HOST or HOST:PORT: received"):
        address_of(server, 8500)


# Texts of shared_batch_scheduler.h, basic_batch_scheduler.h, gRPC's message_size_filter.cc and TensorFlow's allocators.
QUEUE = "The batch scheduling queue to which this task was submitted is full; task size is 1 but ..."
THREADS = (
    "This task would start a fresh batch, but all batch threads are busy, so at present there is no processing capacity"
)
TOO_LARGE = "SERVER: Received message larger than max (105000099 vs. 4194304)"
MEMORY = "OOM when allocating tensor with shape[1,512,512,400,16]"


@pytest.mark.parametrize(
    ("code", "text", "kind", "says"),
    [
        ("UNAVAILABLE", QUEUE, Busy, "the queue of gpu1:8500 is full"),
        ("UNAVAILABLE", THREADS, Busy, "the queue of gpu1:8500 is full"),
        ("RESOURCE_EXHAUSTED", MEMORY, Busy, "gpu1:8500 cannot take the request now"),
        ("RESOURCE_EXHAUSTED", TOO_LARGE, InputError, "grpc.max_receive_message_length=2147483647"),
        ("INVALID_ARGUMENT", "Type mismatch", InputError, r"refuses the request \(INVALID_ARGUMENT: Type mismatch\)"),
        ("NOT_FOUND", "Servable not found", Missing, r"gpu1:8500 has no such model \(Servable not found\)"),
        ("DEADLINE_EXCEEDED", "Timed out", InputError, r"gave up \(Timed out\).*--rest_api_timeout_in_ms"),
        ("INTERNAL", "boom\n  at x", InputError, r"gpu1:8500 failed \(INTERNAL: boom at x\): its log"),
    ],
)
def test_each_error_has_a_line_of_its_own(code: str, text: str, kind: type[InputError], says: str) -> None:
    error = server_error(HERE, code, text)
    assert isinstance(error, kind)
    assert isinstance(error, TryLater) == (kind is Busy)
    with pytest.raises(InputError, match=says):
        raise error


def test_a_text_that_quotes_the_volume_is_cut_short() -> None:
    line = str(server_error(HERE, "INVALID_ARGUMENT", "JSON Value: [\n" + "0,\n" * 10**6 + "\x00\x07"))
    assert len(line) < 400
    assert line.isprintable()
