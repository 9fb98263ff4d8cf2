"""What a disk refuses, told in one line: what, where, and the remedy."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kseg.console.errors import InputError

FULL = "free space on that disk"
NOT_ALLOWED = "change its permissions, or choose another place"
GONE = "put it back"
FAULTY = "check that disk"
AGAIN = "run the command again"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another disk",
    errno.EROFS: "choose another place",
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.ENOENT: GONE,
    errno.ENOTDIR: "a file stands where a folder should be: choose another place, or move it away",
    errno.EISDIR: "a folder stands where a file should be: move it away, or choose another place",
    errno.EEXIST: "move it away, or choose another place",
    errno.ENOTEMPTY: "something was put there meanwhile: move it away",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "fix its links",
    errno.EXDEV: "choose a place on the same disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: FAULTY,
    errno.ESTALE: FAULTY,
    errno.ENOTCONN: FAULTY,
    errno.ENODEV: FAULTY,
}
"""What a file system may refuse, and what its user can do; other errors of a system are none of its."""
UNTOLD = tuple(code for code in REMEDIES if code not in (errno.EEXIST, errno.ENOTEMPTY))
"""What is recognised by the system's own words, in errors of libraries that lose its code."""


def refusal(error: BaseException, then: str = AGAIN) -> str | None:
    """Return in one line what a file system refused, where, and the remedy; None for an error of another kind.

    TensorFlow, ITK, HDF5 and Beam's workers pass on no more than the system's words.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is not None and code not in REMEDIES:
        return None
    text = str(error)
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop"):  # of pathlib, until Python 3.13
        code = errno.ELOOP
    if code is None:
        if not isinstance(error, (OSError, RuntimeError, *_errors_of_tensorflow())):
            return None
        code = next((one for one in UNTOLD if os.strerror(one) in text), None)
    if code is None:
        return None
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    line = next((line.strip() for line in text.splitlines() if os.strerror(code) in line), text)
    said = re.sub(r"^(\{\{.*?\}\} )+", "", line)[:300]  # where in its graph TensorFlow was
    where = f"'{os.fsdecode(named)}'" if isinstance(named, str | bytes) else ""
    what = f"{where}: {os.strerror(code)}" if where else said.removeprefix(f"[Errno {code}] ")
    return f"{what}: {REMEDIES[code]}, then {then}"


@contextmanager
def refusals_told(then: str = AGAIN) -> Iterator[None]:
    """Turn what a file system refuses within the block into one line: what, where, the remedy, and what to do `then`.

    Raises:
        InputError: it has refused something.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries' own have no type in common; all but refusals pass as they are
        if (line := refusal(error, then)) is None:
            raise
        raise InputError(line) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in what a disk refuses within the block, where a library does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _errors_of_tensorflow() -> tuple[type[BaseException], ...]:
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.OpError,) if tensorflow else ()
