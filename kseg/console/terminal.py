"""Progress of long jobs, on standard error so that `--json` owns standard output: bars, or in a file lines."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

WIDTH = None if sys.stderr.isatty() else 120  # a log file is wider than rich's guess for it
# Names of classes and cases are printed as they are: `[red]` is no colour in them, and `:leg:` no picture.
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False, width=WIDTH)
stdout = Console(highlight=False, markup=False, emoji=False, width=WIDTH)


EVERY = 30.0
"""Seconds between two lines on the progress of a job, where no terminal shows a bar."""


class Bar(Progress):
    """A bar on a terminal; in a file, where it cannot move, nothing.

    It has no refreshing thread: a job that fails leaves its bar to the garbage collector, which may come for it while
    another bar holds the lock that the thread waits for.
    """

    def __init__(self, *columns: ProgressColumn, console: Console, transient: bool = False) -> None:
        hidden = not console.is_terminal
        super().__init__(*columns, console=console, transient=transient, auto_refresh=False, disable=hidden)

    def stop(self) -> None:
        """End the bar; rich before 15 writes an empty line into the file that showed none."""
        if not self.disable:
            super().stop()


class Pace:
    """Says when another line on a job's progress is due, in a file; on a terminal never."""

    def __init__(self) -> None:
        self.told()

    def told(self) -> None:
        """Start to count: a line has been written."""
        self._since = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for a line; whoever asks writes it."""
        if stderr.is_terminal or time.monotonic() - self._since < EVERY:
            return False
        self.told()
        return True


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while a bar on the terminal shows how many are done and how long the rest will take.

    In a file there is a line each half minute, after the item under way. Of items that nobody has counted, which may
    be no more than marks of time, the time since the first is shown.
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    name, bar_column, elapsed = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    counted = (name, bar_column, MofNCompleteColumn(), elapsed, TextColumn("left"), TimeRemainingColumn())
    columns = (name, bar_column, elapsed) if total is None else counted
    pace, began = Pace(), time.monotonic()
    with Bar(*columns, console=stderr) as bar:
        for done, item in enumerate(bar.track(items, description=description, total=total), start=1):
            yield item
            if pace.is_due:
                so_far = f"{time.monotonic() - began:.0f} s" if total is None else f"{done} of {total}"
                stderr.print(f"{description}: {so_far}", soft_wrap=True)
