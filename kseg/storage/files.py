"""Files and folders that appear whole or not at all, however a command ends."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from kseg.console.disk_errors import naming
from kseg.console.errors import InputError
from kseg.storage.locations import Location
from kseg.storage.ownership import (
    PARTIAL,
    WRITING,
    Kind,
    check_ours,
    check_replaceable,
    mark,
    partial_of,
    remove,
    remove_own,
    replaced,
)


@contextmanager
def whole_file(path: Path, prefix: str = PARTIAL, on_disk: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end, if nothing failed.

    The temporary name is the file's after a `prefix`: it keeps the extension, because libraries choose the format by
    it. With `on_disk` the content has left the system's memory before it takes its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{prefix}{path.name}")
    try:
        with naming(path):
            yield partial
            if on_disk:
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_files(folder: Path, last: str) -> Iterator[Path]:
    """Yield a temporary folder within `folder`; files written there are moved to `folder`, if nothing failed.

    The one called `last` is moved last: it is not there before those that it names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=WRITING) as place:
        with naming(folder / last):
            yield Path(place)
        for file in sorted(Path(place).iterdir(), key=lambda path: path.name == last):
            file.replace(folder / file.name)


@contextmanager
def whole_folder(path: Path, *kinds: Kind) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; it takes the place of `path` at the end, if nothing failed.

    It is marked as of the first of the `kinds`; what it replaces may be of any of them. Left-overs of a killed command
    are cleared away; a folder already at `path` stays until the new one is whole.

    Raises:
        InputError: what is there is not of one of the `kinds` (`check_replaceable`).
    """
    check_replaceable(path, *kinds)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    remove(partial, *kinds)
    partial.mkdir()
    try:
        with naming(path):
            mark(partial, kinds[0])
            yield partial
        replace_folder(path, partial, *kinds)
    finally:
        remove_own(partial)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder; where there are no such locks nobody is kept out."""
    opened = None
    with suppress(OSError):  # of a system or disk that locks no folders
        opened = os.open(folder, os.O_RDONLY)
        lock(opened)
    try:
        yield
    finally:
        if opened is not None:
            os.close(opened)


def lock(file: TextIO | int, refusal: str = "") -> None:
    """Lock an open file, or folder; the lock goes with the last process that holds the file open, however that ends.

    Without a `refusal` it waits until no other process has the lock.

    Raises:
        InputError: the `refusal`, where another process has locked it.
    """
    with suppress(ImportError):  # there are systems without such locks
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise InputError(refusal) from None


def sha256_of(path: Location) -> str:
    """Return the SHA-256 of a file, read in pieces, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def replace_folder(old: Path, new: Path, *kinds: Kind) -> None:
    """Put the folder `new` in the place of `old`, if that is there and of one of the `kinds`; both on one disk.

    A command that is killed in the middle leaves one of the two whole under its name, and the rest of `old` as
    `replaced(old)`.

    Raises:
        InputError: `old` is not of one of the `kinds` (`check_ours`).
    """
    check_ours(old, *kinds)
    aside = replaced(old)
    remove(aside, *kinds)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    remove(aside, *kinds)
