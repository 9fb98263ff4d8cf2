"""Asking again: for what may go well later, as often as makes sense, and never beyond the deadline."""

import time

import pytest

from kseg.client import retry
from kseg.client.errors import Busy, TooLate, Unreachable
from kseg.client.retry import ATTEMPTS, Deadline, with_retries
from kseg.console.errors import InputError

pytest.importorskip("tenacity", reason="needs kseg[serving]")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 1e-3)
    monkeypatch.setattr(retry, "MAX_WAIT_SECONDS", 1e-3)


class Server:
    """Fails with `errors`, one after another, then answers."""

    def __init__(self, *errors: InputError):
        self.errors = list(errors)
        self.asked = 0

    def __call__(self, _: Deadline) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "labels"


def test_what_may_go_well_later_is_asked_again() -> None:
    server = Server(Unreachable("refused"), Busy("full"), Unreachable("refused"))
    assert with_retries(server, Deadline.within(60)) == "labels"
    assert server.asked == 4


def test_what_was_rejected_is_not() -> None:
    server = Server(InputError("wrong type"))
    with pytest.raises(InputError, match="wrong type"):
        with_retries(server, Deadline.within(60))
    assert server.asked == 1


def test_a_server_that_is_not_there_is_called_a_few_times() -> None:
    server = Server(*(Unreachable("refused") for _ in range(99)))
    with pytest.raises(Unreachable, match="refused"):
        with_retries(server, Deadline.within(60))
    assert server.asked == ATTEMPTS


def test_a_full_queue_is_waited_for_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(*(Busy("the queue is full") for _ in range(9 * ATTEMPTS)))
    assert with_retries(server, Deadline.within(600)) == "labels"
    assert capsys.readouterr().err == "waiting for the server: the queue is full\n"


def test_a_queue_that_stays_full_is_the_reason_not_the_last_attempt_that_came_too_late() -> None:
    def busy_then_late(deadline: Deadline) -> str:
        if deadline.left() > 0.1:
            raise Busy("full")
        time.sleep(deadline.left())
        raise TooLate("no answer")

    with pytest.raises(Busy, match="full"):
        with_retries(busy_then_late, Deadline.within(0.2))
    with pytest.raises(TooLate, match="no answer"):
        with_retries(busy_then_late, Deadline.within(0.05))


def test_no_attempt_begins_after_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(Busy):
        with_retries(Server(*(Busy("full") for _ in range(10**4))), Deadline.within(0.2))
    assert time.monotonic() - began < 30
