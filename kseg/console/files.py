"""Files and folders that appear whole or not at all, however a command ends."""

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
    partial, old = (path.with_name(f".{kind}-{path.name}") for kind in ("partial", "old"))
    _remove(partial)
    partial.mkdir()
    try:
        yield partial
        _remove(old)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        _remove(old)
    finally:
        _remove(partial)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
