"""Where a dataset lies: in a folder of this machine, or in an object store, as `s3://bucket/legs`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kseg.console.errors import InputError
from kseg.console.text import first_line

if TYPE_CHECKING:
    from upath import UPath

Location: TypeAlias = "Path | UPath"
"""A file or folder: of this machine (`Path`), or of one of fsspec's remote file systems (`UPath`)."""


def local(where: str) -> Path:
    """Return the file or folder of this machine that a recipe or an argument names.

    `~` stands for the user's home: a shell leaves it as it is within a word (`data.records=~/legs`), a recipe has none,
    and a folder that is named `~` is one that sooner or later somebody removes by `rm -r ~`.

    Raises:
        InputError: it is in an object store.
    """
    if "://" in where:
        raise InputError(f"'{where}' must be on a disk of this machine: name a folder or file there")
    return Path(os.path.expanduser(where))  # noqa: PTH111 (a Path's own fails where there is no such user)


def location_of(where: str) -> Location:
    """Return the location that a recipe or an argument names; nothing is asked of it yet.

    Raises:
        InputError: nothing that is installed reaches locations of its kind, or it is a bucket itself.
    """
    if "://" not in where:
        return local(where)
    from upath import UPath

    try:
        location = UPath(where, use_listings_cache=False)  # what other processes write is seen at once
        _ = location.fs
    except (ImportError, ValueError) as error:
        raise InputError(f"'{where}' cannot be opened ({error}): s3:// needs pip install 'kseg[s3]'") from None
    if not location.name:
        raise InputError(f"'{where}' names no folder: name one within it, such as '{where.rstrip('/')}/legs'")
    return location


def is_remote(location: Location) -> bool:
    """Whether a location lies in an object store or behind another remote file system."""
    return not isinstance(location, Path)


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """Tell in one line that a remote location cannot be reached; an error of a local file passes as it is.

    Raises:
        InputError: the bucket, the network or the credentials do not allow it.
    """
    try:
        yield
    except _store_errors(location) as error:
        raise InputError(
            f"'{location}' cannot be reached ({first_line(error)}): check its name, network and credentials"
        ) from None


def _store_errors(location: Location) -> tuple[type[BaseException], ...]:
    if not is_remote(location):
        return ()
    if botocore := sys.modules.get("botocore.exceptions"):  # of s3://; not among the errors of a system
        return OSError, botocore.BotoCoreError
    return (OSError,)
