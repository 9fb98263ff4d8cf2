"""Where a dataset is written to, a folder of a disk or of an object store: readers find it whole, or not at all."""

import json
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from upath import UPath

from kseg.console.errors import InputError
from kseg.records.manifest import MANIFEST, Manifest, load_manifest
from kseg.records.schema import VERSION
from kseg.storage.disk import check_writable
from kseg.storage.files import lock, replace_folder, whole_file
from kseg.storage.locations import Location
from kseg.storage.ownership import WRITING, Kind, check_replaceable, mark, partial_of, remove, replaced

FINISHED = ".finished"
"""Folder, within that of a dataset that is not done, of the files that say which cases are finished."""


def _read_json(path: Location) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _shards(folder: Location) -> Collection[str]:
    """The shards of a dataset: those of its manifest; all that look so where that is of another version, or damaged."""
    match _read_json(folder / MANIFEST):
        case {"schema_version": int(version), "cases": [*cases]} if version == VERSION:
            return {str(case.get("file")) for case in cases if isinstance(case, dict)}
    return {path.name for path in folder.glob("*.tfrecord")}


def _was_a_dataset(folder: Location) -> bool:
    """Whether a folder without a marker is a dataset of any earlier version, or one that was never finished."""
    match _read_json(folder / MANIFEST):
        case {"schema_version": int(), "cases": [*_]}:
            return True
    return (folder / FINISHED).is_dir()


FINISHED_CASES = Kind("folder of finished cases", ("*.json", "*.outcome", f"{WRITING}#-*"), "remove it", lambda _: True)
DATASET = Kind(
    "dataset",
    (MANIFEST, f"{WRITING}#-*", *(f"{FINISHED}/{file}" for file in FINISHED_CASES.files)),
    "set data.records to another place",
    _was_a_dataset,
    _shards,
)


class Destination(Protocol):
    """Makes a dataset of finished shards."""

    @property
    def partial(self) -> Location:
        """Folder for shards as they are finished; it outlives a `kseg.prepare` that is killed."""
        ...

    def check(self) -> None:
        """Raise `InputError` where something else than a dataset would be replaced, or nothing can be written."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Clear away what a killed one was writing and, where the system can, keep others out."""
        ...

    def interrupted(self) -> Manifest | None:
        """Return the manifest of a dataset that was about to take its place when it was killed, if there is one."""
        ...

    def publish(self, manifest: str, files: Collection[str]) -> None:
        """Put the `files` of `partial`, and a manifest that lists them, in the place of the dataset before."""
        ...

    def tidy(self) -> None:
        """Remove what one has left that was killed just after it published."""
        ...


def destination(target: Location) -> Destination:
    """Return what writes a dataset to `target`."""
    return OnDisk(target) if isinstance(target, Path) else InStore(target)


def own_file(path: Location) -> AbstractContextManager[Location]:
    """Yield where to write a file so that it appears under its name once it is whole.

    On a disk it is a name that nobody else has: a worker that outlives its parent must not meet the next one's, and
    machines that share a disk number their processes alike. In a store an object is not there before it is closed.
    """
    if isinstance(path, Path):
        return whole_file(path, _own_prefix(), on_disk=True)
    return nullcontext(path)


def _own_prefix() -> str:
    return f"{WRITING}{secrets.randbits(32)}-"


def copy_file(source: Location, target: Location) -> None:
    """Put a file of a dataset, which is never written to, under another name too; it appears there whole.

    On a disk both names are of one file, where the file system has that.
    """
    if not isinstance(source, Path) or not isinstance(target, Path):
        target.fs.copy(source.path, target.path)  # type: ignore[union-attr]
        return
    with whole_file(target, _own_prefix()) as path:
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(source)
        except OSError:  # the copy tells what is wrong, if anything else is
            shutil.copyfile(source, path)


class OnDisk:
    """A folder that takes its name once it is whole."""

    def __init__(self, target: Path) -> None:
        if not target.resolve().name:
            raise InputError(f"'{target}' is all of a disk: set data.records to a folder")
        self._named = target
        self._target = target.resolve()
        self.partial = partial_of(self._target)
        self._lock = self.partial.with_name(f"{self.partial.name}.lock")

    def check(self) -> None:
        """Raise `InputError` where something else than a dataset would be replaced, or nothing can be written."""
        check_replaceable(self._named, DATASET)
        check_writable(self._target.parent)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder, clear away what a killed one was writing in it, and keep others out of it.

        The lock is the system's: it goes with the process that holds it. Where nothing was finished nothing stays.
        """
        folder = self.partial
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            lock(file, f"another kseg prepare is writing to '{folder}': wait for it, or stop it")
            for unfinished in (*folder.glob(f"{WRITING}*"), *folder.glob(f"{FINISHED}/{WRITING}*")):
                unfinished.unlink(missing_ok=True)
            try:
                mark(folder, DATASET)
                yield
            finally:
                if folder.is_dir() and not any((folder / FINISHED).glob("*.json")):
                    with suppress(InputError):  # what somebody has put there meanwhile stays
                        remove(folder, DATASET)
                self._lock.unlink(missing_ok=True)

    def interrupted(self) -> Manifest | None:
        """Return the manifest of a dataset whose folder has not got its name."""
        return _manifest_in(self.partial)

    def publish(self, manifest: str, files: Collection[str]) -> None:
        """Give the folder the dataset's name."""
        _keep_only(files, self.partial.glob("*.tfrecord"))
        (self.partial / MANIFEST).write_text(manifest, encoding="utf-8")
        replace_folder(self._target, self.partial, DATASET)
        remove(self._target / FINISHED, FINISHED_CASES)

    def tidy(self) -> None:
        """Remove what one has left that was killed just after it published; nothing while another writes."""
        finished, before = self._target / FINISHED, replaced(self._target)
        if any(path.exists() for path in (finished, before, self._lock, self.partial)):
            with suppress(InputError):
                check_replaceable(self._target, DATASET)
                with self.alone():
                    remove(finished, FINISHED_CASES)
                    remove(before, DATASET)


class InStore:
    """A folder of an object store, which can neither rename nor lock.

    Shards are copied to their place within the store, and the manifest comes last: a folder without one is no
    dataset. The manifest in `partial` says that one was killed while it did so.
    """

    def __init__(self, target: UPath) -> None:
        self._target = target
        self.partial = partial_of(target)

    def check(self) -> None:
        """Raise `InputError` where something else than a dataset would be replaced."""
        check_replaceable(self._target, DATASET)

    def alone(self) -> AbstractContextManager[None]:
        """Mark the folder: what a killed one was writing is not there, and a store has no locks."""
        mark(self.partial, DATASET)
        return nullcontext()

    def interrupted(self) -> Manifest | None:
        """Return the manifest of a dataset whose shards were being copied."""
        return _manifest_in(self.partial)

    def publish(self, manifest: str, files: Collection[str]) -> None:
        """Copy the shards to their place, then write the manifest, then remove what is of use no more."""
        (self.partial / MANIFEST).write_text(manifest, encoding="utf-8")
        mark(self._target, DATASET)
        (self._target / MANIFEST).unlink(missing_ok=True)
        for name in files:
            self._target.fs.copy((self.partial / name).path, (self._target / name).path)
        (self._target / MANIFEST).write_text(manifest, encoding="utf-8")
        self._clear(files)

    def tidy(self) -> None:
        """Remove what one has left that was killed just after it published."""
        manifest = self._target / MANIFEST
        before = self.partial / MANIFEST
        if before.exists() and before.read_bytes() == manifest.read_bytes():
            self._clear({case.file for case in load_manifest(self._target).cases})

    def _clear(self, files: Collection[str]) -> None:
        """Remove what is of use no more once the `files` are published."""
        _keep_only(files, self._target.glob("*.tfrecord"))
        remove(self.partial, DATASET)


def _manifest_in(folder: Location) -> Manifest | None:
    try:
        return load_manifest(folder)
    except InputError:
        return None


def _keep_only(wanted: Collection[str], found: Iterable[Location]) -> None:
    """Remove shards of scans that an earlier dataset had and this one has not."""
    for path in found:
        if path.name not in wanted:
            path.unlink()
