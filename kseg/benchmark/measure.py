"""How long something takes, and how much memory a process has used at most."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def seconds(run: Callable[[], Any]) -> float:
    """Run something once, and return the seconds that it took."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def peak_bytes() -> int:
    """Return the most memory that this process has held.

    Linux keeps what `getrusage` reports across `exec`: a small process that a large one starts would seem as large.
    """
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
