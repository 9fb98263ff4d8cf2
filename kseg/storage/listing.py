"""Files that kseg wrote into a folder of its user's, where they lie among others: listed there, by their SHA-256.

A file that was changed since, by hand for instance, is its user's and no longer kseg's.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kseg.console.errors import InputError
from kseg.storage.files import sha256_of, whole_file
from kseg.storage.locations import Location
from kseg.storage.ownership import MARKER

LISTING = ".kseg-wrote.jsonl"


def list_files(folder: Path, files: Mapping[str, Path]) -> None:
    """Add files to the listing of a folder, a line each.

    Lines are only ever added, so that commands which write into one folder need not wait for each other.

    Args:
        folder: of the listing.
        files: by the path from there that each has, or will have: a file that is listed before it takes its name is
            never there unlisted.
    """
    lines = [json.dumps({"file": name, "sha256": sha256_of(file)}) for name, file in files.items()]
    with (folder / LISTING).open("a", encoding="utf-8") as listing:
        listing.write("\n".join(["", *lines, ""]))  # a line that a full disk cut short ends here


@contextmanager
def listed_file(path: Path) -> Iterator[Path]:
    """Do as `whole_file`, and list the file in its folder before it takes its name."""
    with whole_file(path) as partial:
        yield partial
        list_files(path.parent, {path.name: partial})


def check_unchanged(folder: Path, names: Iterable[str]) -> None:
    """See to it that files of a marked folder, where they are there, are as kseg wrote them.

    A folder without a marker is of an earlier version, which listed nothing.

    Raises:
        InputError: one is not.
    """
    for name in names:
        path = folder / name
        if os.path.lexists(path) and (folder / MARKER).is_file() and not is_listed(folder, name):
            raise InputError(
                f"'{path}' is there, and is not as kseg wrote it: move it away, then run the command again"
            )


def changed_files(folder: Location) -> set[str]:
    """Return the files listed in a folder, or in one within, that are not as kseg wrote them, as paths from there."""
    root = Path(str(folder))
    return {
        (place / name).relative_to(root).as_posix()
        for place, name in _listed(root)
        if os.path.lexists(place / name) and not is_listed(place, name)
    }


def listed_files(folder: Location) -> set[str]:
    """Return the files listed in a folder, or in one within, whether they are there or not, as paths from there."""
    root = Path(str(folder))
    return {(place / name).relative_to(root).as_posix() for place, name in _listed(root)}


def is_listed(folder: Path, name: str) -> bool:
    """Whether a file of a folder, by its path from there, is as kseg wrote it; a link is none of kseg's."""
    path = folder / name
    hashes = _hashes(folder).get(name, ())
    return bool(hashes) and path.is_file() and not path.is_symlink() and sha256_of(path) in hashes


def _listed(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each folder with a listing, in a folder or below it, and the path from there of each file that it lists."""
    for listing in root.rglob(LISTING):
        for name in _hashes(listing.parent):
            yield listing.parent, name


def _hashes(folder: Path) -> dict[str, set[str]]:
    hashes: dict[str, set[str]] = {}
    try:
        lines = (folder / LISTING).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            name, digest = PurePosixPath(entry["file"]), str(entry["sha256"])
        except (ValueError, LookupError, TypeError):
            continue  # one that was cut short lists nothing
        if not name.is_absolute() and ".." not in name.parts:  # kseg lists what is in the folder
            hashes.setdefault(str(name), set()).add(digest)
    return hashes
