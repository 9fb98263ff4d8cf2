"""Folders of kseg's own making: how they are told from others, and how they are deleted, here and nowhere else.

Such a folder has a marker that kseg wrote, and its `Kind` is a table of all that kseg writes there. It may go only if
it is marked and holds nothing else; what else it holds is somebody's work, and is named. Nothing behind a link is
touched.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from kseg.console.errors import InputError
from kseg.storage.locations import Location

if TYPE_CHECKING:
    from upath import UPath

MARKER = ".kseg.json"
VERSION = 1
BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that file browsers leave in every folder; nobody misses them."""
PARTIAL, REPLACED = ".partial-", ".old-"
"""How names begin under which a file or folder is written, and put aside."""
WRITING = ".writing-"
"""The same, of a file or folder that is one process's own: several may write at once."""
LEFT_OVER = re.compile(f"{re.escape(PARTIAL)}|{re.escape(REPLACED)}")

L = TypeVar("L", "Path", "UPath")
Entries: TypeAlias = list[tuple[str, str]]
"""What is in a folder, a folder before what is in it: the path from there, and "file", "folder", "link" or "other"."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder that kseg makes.

    Args:
        name: of the kind, in markers and messages.
        files: what kseg writes there, as paths from the folder: `*` stands for a part of a name, `#` for a number.
        elsewhere: how a user names another folder.
        recognised: whether a folder without a marker was made by an earlier version, by what it always had.
        listed: files beyond `files`, by what a file of the folder lists.
        changed: files that kseg wrote and somebody changed since, which are theirs now.
    """

    name: str
    files: tuple[str, ...]
    elsewhere: str
    recognised: Callable[[Location], bool] = lambda _: False
    listed: Callable[[Location], Collection[str]] = lambda _: ()
    changed: Callable[[Location], Collection[str]] = lambda _: ()


def partial_of(folder: L) -> L:
    """Return the name under which a folder is written until it is whole."""
    return folder.with_name(PARTIAL + folder.name)


def replaced(folder: L) -> L:
    """Return the name under which `folder` goes while another takes its place."""
    return folder.with_name(REPLACED + folder.name)


def mark(folder: Location, kind: Kind) -> None:
    """Write the marker of a kind into a folder."""
    (folder / MARKER).write_text(json.dumps({"kind": kind.name, "version": VERSION}) + "\n", encoding="utf-8")


def is_kind(folder: Location, kind: Kind) -> bool:
    """Whether a folder is of a kind, by its marker or by what an earlier version left."""
    marked = _marked(folder)
    return marked == kind.name if marked else kind.recognised(folder)


def claim(folder: Path, kind: Kind) -> None:
    """Make a folder of a kind to which kseg adds, or take up one that kseg made, and mark it.

    Raises:
        InputError: something else is there.
    """
    if not is_empty(folder) and not is_kind(folder, kind):
        _entries_if_ours(_behind_links(folder, kind), (kind,))
    folder.mkdir(parents=True, exist_ok=True)
    mark(folder, kind)


def is_empty(folder: Location) -> bool:
    """Whether there is no such folder, or nothing in it."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def check_replaceable(folder: Location, *kinds: Kind) -> None:
    """See to it that a folder, and what a killed command left beside it, may be replaced by one of the `kinds`.

    It may if it is not there, or empty, or of one of the kinds without a file or link that kseg did not write.

    Raises:
        InputError: it may not; the message says why, and what to do.
    """
    folder = _behind_links(folder, kinds[0]) if isinstance(folder, Path) else folder
    if not folder.name:
        raise InputError(f"'{folder}' is all of a disk: {kinds[0].elsewhere}")
    for name in (folder.name, PARTIAL + folder.name, REPLACED + folder.name):
        check_ours(folder.with_name(name), *kinds)


def check_ours(folder: Location, *kinds: Kind) -> None:
    """`check_replaceable` of a folder alone; what stands beside it does not matter."""
    _entries_if_ours(folder, kinds)


def check_spared(read: Iterable[Path], folder: Location) -> None:
    """See to it that nothing that a command reads lies in a folder that it replaces.

    Raises:
        InputError: something does.
    """
    if not isinstance(folder, Path) or not folder.exists():
        return
    place = identity(folder)
    for path in read:
        real = path.resolve()
        if path.exists() and any(identity(one) == place for one in (real, *real.parents)):
            raise InputError(f"'{path}' is read, and lies in '{folder}', which would be replaced: copy it elsewhere")


def identity(path: Path) -> tuple[int, int]:
    """Return what stands for a file or folder whatever name it is reached by: its device and inode."""
    found = path.stat()
    return found.st_dev, found.st_ino


def remove(folder: Location, *kinds: Kind) -> None:
    """Delete a folder and all that is in it, if it is there, once it is checked as by `check_replaceable`.

    Raises:
        InputError: it holds what kseg did not write; nothing has been deleted then.
    """
    _delete(folder, _entries_if_ours(folder, kinds))


def remove_own(folder: Path) -> None:
    """Delete a folder that this process has made, and all that is in it, if it is there; links are not followed."""
    _delete(folder, list(_walk(folder)) if folder.exists() else [])


def _entries_if_ours(folder: Location, kinds: tuple[Kind, ...]) -> Entries:
    """Return what is in a folder, if kseg may delete it."""
    kind = kinds[0]
    if isinstance(folder, Path) and (folder.is_symlink() or (folder.exists() and not folder.is_dir())):
        what = "link" if folder.is_symlink() else "file"
        raise InputError(f"'{folder}' is a {what}: move it away, or {kind.elsewhere}")
    if is_empty(folder):
        return []
    entries = list(_walk(folder))
    ours = next((one for one in kinds if is_kind(folder, one)), None)
    if ours is None:
        if marked := _marked(folder):
            raise InputError(f"'{folder}' is a {marked} that kseg made, not a {kind.name}: {kind.elsewhere}")
        first = min(entries)[0]
        raise InputError(
            f"'{folder}' is not a {kind.name} that kseg made (it holds '{first}'): {kind.elsewhere}, or move it away"
        )
    if (foreign := _foreign(folder, entries, ours)) is not None:
        raise InputError(f"'{folder}' holds {foreign}: move it away, or {kind.elsewhere}")
    return entries


def _foreign(folder: Location, entries: Entries, kind: Kind) -> str | None:
    """Name the first entry that kseg does not write into a folder of a kind, or that is not as it was written."""
    listed, changed, parents = kind.listed(folder), kind.changed(folder), set[str]()
    for pattern in kind.files:
        parts = pattern.split("/")
        parents.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for path, what in sorted(entries):
        parts = [part[found.end() :] if (found := LEFT_OVER.match(part)) else part for part in path.split("/")]
        name, bare = parts[-1], "/".join(parts)
        if what == "folder" and any(_regex(pattern).fullmatch(bare) for pattern in parents):
            continue
        if path in changed:
            return f"'{path}', which is not as kseg wrote it"
        known = name in (MARKER, *BY_SYSTEMS) or bare in listed
        if what == "file" and (known or any(_regex(pattern).fullmatch(bare) for pattern in kind.files)):
            continue
        return f"{'the link ' if what == 'link' else ''}'{path}', which kseg did not write"
    return None


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\#", "[0-9]+"))


def _walk(folder: Location) -> Iterator[tuple[str, str]]:
    """Yield every entry of a folder, a folder before what is in it, as a path from there and "file", "folder", ..."""
    if not isinstance(folder, Path):
        root = folder.path.rstrip("/")
        yield from ((str(found)[len(root) + 1 :], "file") for found in folder.fs.find(folder.path))
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield entry.name, "folder"
            yield from ((f"{entry.name}/{path}", what) for path, what in _walk(folder / entry.name))
        else:
            kinds = {"link": entry.is_symlink(), "file": entry.is_file(follow_symlinks=False)}
            yield entry.name, next((what for what, so in kinds.items() if so), "other")


def _delete(folder: Location, entries: Entries) -> None:
    """Delete just these entries, and the folder: one that came in between is found by the system, and stays."""
    if not isinstance(folder, Path):
        if folder.exists():
            folder.fs.rm(folder.path, recursive=True)
        return
    for path, what in reversed(entries):
        (folder / path).rmdir() if what == "folder" else (folder / path).unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def _marked(folder: Location) -> str | None:
    """Return the kind that a folder's marker names."""
    try:
        kind = json.loads((folder / MARKER).read_bytes())["kind"]
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return None
    return kind if isinstance(kind, str) else None


def _behind_links(folder: Path, kind: Kind) -> Path:
    """Return the folder that a link stands for: that one is replaced, and the link stays."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(
            f"'{folder}' is a link to '{folder.readlink()}', which is not there: make that, remove the link, or "
            f"{kind.elsewhere}"
        )
    return folder.resolve() if folder.is_symlink() or folder.name in ("", "..") else folder
