"""What commands print."""

import json
from typing import Any


def last_json(printed: str) -> Any:
    """The JSON object that a command with --json printed last on standard output."""
    return json.loads(printed.splitlines()[-1])
