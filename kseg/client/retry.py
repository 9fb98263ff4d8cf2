"""Asking again for what may go well later, within a deadline."""

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from kseg.client.errors import Busy, TooLate, TryLater
from kseg.console.errors import InputError
from kseg.console.messages import say

T = TypeVar("T")

ATTEMPTS = 5
"""How often a server is called that does not answer; one that is busy is asked until the deadline."""
FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 15.0


class Deadline(NamedTuple):
    """A time at which a job is over: `seconds` from its beginning, at `ends` of the monotonic clock."""

    seconds: float
    ends: float

    @classmethod
    def within(cls, seconds: float) -> "Deadline":
        """Return the deadline of a job that begins now."""
        return cls(seconds, time.monotonic() + seconds)

    def left(self) -> float:
        """Return the seconds that are left, at least a little: what asks for no time may wait forever."""
        return max(self.ends - time.monotonic(), 0.001)


def with_retries(request: Callable[[Deadline], T], deadline: Deadline) -> T:
    """Make a request, and again after `TryLater`, with waits that grow exponentially, drawn at random (full jitter).

    Raises:
        InputError: the request's; `TryLater` after the last attempt, even if that was cut short by the deadline.
    """
    try:
        from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay
        from tenacity.wait import wait_random_exponential
    except ImportError as error:
        raise not_installed(error) from None

    def is_busy(state: RetryCallState) -> bool:
        return state.outcome is not None and isinstance(state.outcome.exception(), Busy)

    def has_tried_enough(state: RetryCallState) -> bool:
        return state.attempt_number >= ATTEMPTS and not is_busy(state)

    def say_what_is_waited_for(state: RetryCallState) -> None:
        if state.attempt_number == 1 and is_busy(state):
            say(f"waiting for the server: {state.outcome.exception() if state.outcome else None}")

    earlier: list[TryLater] = []

    def attempt() -> T:
        try:
            return request(deadline)
        except TryLater as error:
            earlier.append(error)
            raise
        except TooLate:
            if earlier:
                raise earlier[-1] from None
            raise

    out_of_time = stop_before_delay(deadline.left())
    attempts = Retrying(
        retry=retry_if_exception_type(TryLater),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=MAX_WAIT_SECONDS),
        stop=lambda state: has_tried_enough(state) or out_of_time(state),
        before_sleep=say_what_is_waited_for,
        reraise=True,
    )
    return attempts(attempt)


def not_installed(error: ImportError) -> InputError:
    """Return the error for a package that is not there."""
    return InputError(f"--server needs a package that is not installed ({error}): pip install 'kseg[serving]'")
