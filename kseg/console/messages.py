"""What a command prints: lines for the person who watches, and one JSON object for a program."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kseg.console.errors import InputError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def print_json(report: dict[str, Any]) -> None:
    """Print `report` as one line of strict JSON on standard output."""
    print(json.dumps(report, allow_nan=False), flush=True)


def say(message: str) -> None:
    """Print a line for the person who watches, on standard error: standard output belongs to results.

    It is one line whatever names are in it: what would end it, or steer a terminal, is shown as Python writes it.
    """
    print(CONTROL.sub(lambda found: repr(found[0])[1:-1], message), file=sys.stderr, flush=True)


def refuse(faults: Sequence[str], summary: str) -> NoReturn:
    """Refuse what has several faults, each told in a line of its own; one alone is the refusal itself.

    Args:
        faults: at least one.
        summary: what is said after the lines of several, and of what to do about them: "3 of 9 cases are bad".

    Raises:
        InputError: always.
    """
    if len(faults) == 1:
        raise InputError(faults[0])
    for fault in faults:
        say(fault)
    raise InputError(summary)
