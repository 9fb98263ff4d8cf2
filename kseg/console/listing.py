"""Files that kseg wrote into a folder of its user's, where they lie among others: listed there, by their SHA-256.

A file that was changed since, by hand for instance, is its user's and no longer kseg's.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from kseg.console.files import sha256_of

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


def is_listed(folder: Path, name: str) -> bool:
    """Whether a file of a folder, by its path from there, is as kseg wrote it; a link is none of kseg's."""
    path = folder / name
    hashes = _hashes(folder).get(name, ())
    return bool(hashes) and path.is_file() and not path.is_symlink() and sha256_of(path) in hashes


def _hashes(folder: Path) -> dict[str, set[str]]:
    hashes: dict[str, set[str]] = {}
    try:
        lines = (folder / LISTING).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            hashes.setdefault(entry["file"], set()).add(entry["sha256"])
        except (ValueError, LookupError, TypeError):
            continue  # one that was cut short lists nothing
    return hashes
