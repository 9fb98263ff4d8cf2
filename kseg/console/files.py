"""Files and folders that appear whole or not at all, however a command ends."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end, if nothing failed.

    The temporary name keeps the file's extension, because libraries choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; it takes the place of `path` at the end, if nothing failed.

    Left-overs of a killed command are cleared away; a folder already at `path` stays until the new one is whole.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    remove_folder(partial)
    partial.mkdir()
    try:
        yield partial
        replace_folder(path, partial)
    finally:
        remove_folder(partial)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def replace_folder(old: Path, new: Path) -> None:
    """Put the folder `new` in the place of `old`, if that is there; both on one disk.

    A command that is killed in the middle leaves one of the two whole under its name, and the rest of `old` as
    `.old-...`.
    """
    aside = old.with_name(f".old-{old.name}")
    remove_folder(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    remove_folder(aside)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
