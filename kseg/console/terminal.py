"""Progress bars for long jobs, on standard error so that `--json` owns standard output."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

WIDTH = None if sys.stderr.isatty() else 120  # a log file is wider than rich's guess for it
# Names of classes and cases are printed as they are: `[red]` is no colour in them, and `:leg:` no picture.
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False, width=WIDTH)
stdout = Console(highlight=False, markup=False, emoji=False, width=WIDTH)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while a bar on the terminal shows how many are done and how long the rest will take."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # No refreshing thread: a job that fails leaves this generator to the garbage collector, which may come for it
    # while another bar holds the lock that the thread waits for. And no bar in a log file, where it cannot move.
    with Progress(*columns, console=stderr, auto_refresh=False, disable=not stderr.is_terminal) as bar:
        yield from bar.track(items, description=description, total=total)
