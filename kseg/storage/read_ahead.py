"""Doing the next thing while the last one is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
END = object()


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield `items`, the next of which is made in another thread meanwhile: one more of them is in memory.

    It pays where making one waits for a disk, or is a library's work that leaves Python's lock alone.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, END)
        while (item := coming.result()) is not END:
            coming = thread.submit(next, items, END)
            yield item  # type: ignore[misc]
