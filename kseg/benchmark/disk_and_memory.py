"""What the machine itself can do, beside which a pipeline's rate is to be seen: its disk, and its memory."""

import os
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kseg.benchmark.measure import seconds
from kseg.console.terminal import progress
from kseg.storage.locations import Location

PIECE = 1 << 22
MAX_BYTES = 1 << 28


def measure_disk_and_memory(shards: Sequence[Location], repeats: int) -> dict[str, float]:
    """Return MB a second at which shards are read from their disk or store (`disk`) and memory is copied (`memory`).

    Shards are read one after another, up to 268 MB of them; those of a local disk are driven out of the system's cache
    before. The two take turns; each figure is the median of `repeats` runs after one that is not counted.
    """
    rates: dict[str, list[float]] = {"disk": [], "memory": []}
    ones, copy = np.ones(MAX_BYTES, np.uint8), np.empty(MAX_BYTES, np.uint8)
    shard_bytes = min(MAX_BYTES, sum(shard.stat().st_size for shard in shards))
    for number in progress(range(repeats + 1), "disk and memory"):
        for shard in shards:
            _drop_from_cache(shard)
        reading = seconds(partial(_read, shards))
        copying = seconds(partial(np.copyto, copy, ones))
        if number > 0:
            rates["disk"].append(shard_bytes / 1e6 / reading)
            rates["memory"].append(MAX_BYTES / 1e6 / copying)
    return {name: statistics.median(runs) for name, runs in rates.items()}


def _read(shards: Sequence[Location]) -> None:
    left = MAX_BYTES
    for shard in shards:
        with shard.open("rb") as file:
            while piece := file.read(min(PIECE, left)):
                left -= len(piece)


def _drop_from_cache(shard: Location) -> None:
    if isinstance(shard, Path) and hasattr(os, "posix_fadvise"):
        with shard.open("rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet stays in the cache
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
