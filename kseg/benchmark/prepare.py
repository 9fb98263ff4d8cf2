"""`kseg.bench prepare`: how long a scan takes, beside reading its files and writing as many bytes alone."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kseg.benchmark.measure import peak_bytes, seconds
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.terminal import progress
from kseg.console.text import counted
from kseg.recipe.sections import Recipe
from kseg.records.scans import PHANTOM, Scan, ScanList, find_scans
from kseg.records.write_case import CaseJob, prepare_case
from kseg.storage.disk import check_writable
from kseg.storage.locations import local
from kseg.volumes.cases.find import find_cases
from kseg.volumes.formats.open import open_stored
from kseg.volumes.volume_stream import GATHERED_PLANES, stream_of_file

WRITTEN_AT_ONCE = bytes(2**20)


def bench_prepare(recipe: Recipe, count: int, repeats: int) -> tuple[dict[str, Any], Any]:
    """Measure the first `count` scans of a recipe; return the report and its table.

    Raises:
        InputError: the recipe has no files to read, or no disk to write to.
    """
    if not isinstance(recipe.records_folder, Path):
        raise InputError("bench prepare writes to a disk: set data.records to a folder of one")
    if recipe.data.source == PHANTOM:
        raise InputError("bench prepare reads files: name some with data.source (kseg.phantom writes made-up ones)")
    cases = find_cases(local(recipe.data.source)).cases[:count]
    files = [file for case in cases for file in (*case.images, case.label)]
    found = find_scans(recipe)
    some = replace(found, scans=found.scans[:count])
    say(f"{len(cases)} of {counted(len(found.scans), 'case')} of '{recipe.data.source}'")
    report = measure_preparing(some, files, recipe.records_folder.parent, repeats)
    return report, _table(report)


def measure_preparing(found: ScanList, files: Sequence[Path], folder: Path, repeats: int) -> dict[str, Any]:
    """Return seconds to prepare scans, and to read and inflate their `files` and write as many bytes.

    The two take turns, in one process; each figure is the median of `repeats` runs after one that is not counted, which
    also brings the sources into the system's cache for both. `folder` is on the disk to be written to.

    Raises:
        InputError: a scan is bad.
    """
    times = {"prepare": list[float](), "read_and_write": list[float]()}
    shard_bytes = 0
    check_writable(folder)
    for number in progress(range(repeats + 1), "preparing"):
        with TemporaryDirectory(dir=folder, prefix=".bench-") as place:
            prepared = seconds(partial(_prepare, found.scans, Path(place), found.labels.num_classes))
            shard_bytes = sum(path.stat().st_size for path in Path(place).glob("*.tfrecord"))
        with TemporaryDirectory(dir=folder, prefix=".bench-") as place:
            floor = seconds(partial(_read_and_write, files, Path(place) / "bytes", shard_bytes))
        if number > 0:
            times["prepare"].append(prepared)
            times["read_and_write"].append(floor)
    medians = {side: statistics.median(runs) for side, runs in times.items()}
    return {
        "seconds": medians,
        "ratio": medians["prepare"] / medians["read_and_write"],
        "shard_mb": shard_bytes / 1e6,
        "peak_bytes": peak_bytes(),
        "cases": len(found.scans),
    }


def _prepare(scans: tuple[Scan, ...], folder: Path, num_classes: int) -> None:
    for scan in scans:
        outcome = prepare_case(CaseJob(scan, folder, num_classes, "0" * 64))
        if outcome.shard is None:
            raise InputError(outcome.reason)


def _read_and_write(files: Sequence[Path], path: Path, count: int) -> None:
    for one in files:
        for _ in stream_of_file(open_stored(one)).read(GATHERED_PLANES):
            pass
    with path.open("wb") as file:
        for _ in range(count // len(WRITTEN_AT_ONCE) + 1):
            file.write(WRITTEN_AT_ONCE)
        file.flush()
        os.fsync(file.fileno())


def _table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        title="one process; reading and writing: the files inflated and nothing done with them, as many bytes"
    )
    for heading in ("", "prepare", "read and write", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    both = report["seconds"]
    table.add_row(
        "s", f"{both['prepare']:.2f}", f"{both['read_and_write']:.2f}", f"{report['ratio']:.1f}", style="bold"
    )
    rates = [report["shard_mb"] / both[side] for side in ("prepare", "read_and_write")]
    table.add_row("MB of shards a second", *(f"{rate:.0f}" for rate in rates), "")
    table.add_row("peak memory, GB", f"{report['peak_bytes'] / 1e9:.2f}", "", "")
    return table
