"""How long something takes."""

import time
from collections.abc import Callable
from typing import Any


def seconds(run: Callable[[], Any]) -> float:
    """Run something once, and return the seconds that it took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
