"""What a server answers instead of label maps, in one line each: what is wrong, where, and the remedy.

TF Serving's errors have the codes of gRPC, and the same ones as statuses of HTTP.
"""

from kseg.client.address import Address
from kseg.console.command_names import command_line
from kseg.console.errors import InputError

MAX_SHOWN = 300
"""Characters of a server's text that are shown: TF Serving's messages may quote a whole volume."""


class TryLater(InputError):
    """A request that may go well when it is made again."""


class Unreachable(TryLater):
    """Nothing answers: worth a few attempts, in case the server is just starting."""


class Busy(TryLater):
    """The server is there, and cannot take a request now: worth waiting for."""


class TooLate(InputError):
    """A request that was not answered within its deadline."""


class Missing(InputError):
    """The server has no such model, or no such version of it."""


BUSY = "{address} cannot take the request now ({said}): try later, or send less at once"
REFUSED = "the model at {address} refuses the request ({code}: {said})"
ERRORS: dict[str, tuple[type[InputError], str]] = {
    # RESOURCE_EXHAUSTED, as a memory that is full, but it will never do
    "TOO_LARGE": (
        InputError,
        "the server at {address} takes no messages of this size ({said}): start it with "
        "--grpc_channel_arguments=grpc.max_receive_message_length=2147483647",
    ),
    "QUEUE_FULL": (Busy, "the queue of {address} is full ({said}): try later, or raise max_enqueued_batches there"),
    "UNAVAILABLE": (Busy, BUSY),
    "RESOURCE_EXHAUSTED": (Busy, BUSY),
    "DEADLINE_EXCEEDED": (
        InputError,
        "the server at {address} gave up ({said}): start it with a longer --rest_api_timeout_in_ms, which is half a "
        "minute by default",
    ),
    "NOT_FOUND": (Missing, "{address} has no such model ({said}): check its name"),
    "INVALID_ARGUMENT": (InputError, REFUSED),
    "FAILED_PRECONDITION": (InputError, REFUSED),
    "OUT_OF_RANGE": (InputError, REFUSED),
    "UNIMPLEMENTED": (InputError, REFUSED),
}
"""What becomes of a server's errors, by their codes."""


def unreachable(address: Address, reason: str) -> InputError:
    """Return the error for a connection that was refused, or not answered."""
    if "http1" in reason or "HTTP/2" in reason:  # what gRPC says of a server that speaks HTTP 1
        return InputError(f"{address} does not speak gRPC: give its gRPC port, 8500 by default, or --protocol rest")
    return Unreachable(f"nothing answers at {address} ({_shown(reason)}): does the model server run there?")


def broken(address: Address, reason: str) -> Unreachable:
    """Return the error for a connection that ended before its answer."""
    return Unreachable(
        f"the connection to {address} broke ({_shown(reason)}): see in the server's log whether it was stopped, or ran "
        "out of memory"
    )


def too_late(address: Address, seconds: float) -> TooLate:
    """Return the error for a request that was not answered within its deadline, in seconds."""
    return TooLate(f"no answer from {address} within {seconds:g} s: give it longer with --deadline")


def too_large(what: str) -> InputError:
    """Return the error for a volume that a protocol cannot take; `what` says why not."""
    return InputError(f"{what}: crop the scan, or segment it with {command_line('predict')} without --server")


def no_answer_of_tf_serving(address: Address, text: str) -> InputError:
    """Return the error for an answer that TF Serving does not give."""
    return InputError(f"{address} does not answer as TF Serving does ({_shown(text)}): check host, port and --protocol")


def server_error(address: Address, code: str, text: str) -> InputError:
    """Return the error for an error that the server answers with.

    Args:
        address: of the server.
        code: gRPC's name of the error.
        text: what the server says.
    """
    if "larger than max" in text:
        code = "TOO_LARGE"
    elif code == "UNAVAILABLE" and is_of_a_queue(text):
        code = "QUEUE_FULL"
    kind, line = ERRORS.get(code, (InputError, "the server at {address} failed ({code}: {said}): its log says more"))
    return kind(line.format(address=address, code=code, said=_shown(text)))


def is_of_a_queue(text: str) -> bool:
    """Whether a text is what TensorFlow's batch schedulers say of a task that they cannot take."""
    return "queue" in text or "capacity" in text


def _shown(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]} ..."
