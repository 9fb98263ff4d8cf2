"""What a command prints: lines for the person who watches, and one JSON object for a program."""

import json
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from kseg.console.errors import InputError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

ONE_LINE = threading.RLock()
"""Held while a line is written: Python writes a line and its end one by one, and another thread's may come between."""


def print_json(report: dict[str, Any]) -> None:
    """Print `report` as one line of strict JSON on standard output."""
    line = json.dumps(report, allow_nan=False)
    with ONE_LINE:
        print(line, flush=True)


def say(message: str) -> None:
    """Print a line for the person who watches, on standard error: standard output belongs to results.

    It is one line whatever names are in it: what would end it, or steer a terminal, is shown as Python writes it.
    """
    line = CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
    with ONE_LINE:
        print(line, file=sys.stderr, flush=True)


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
