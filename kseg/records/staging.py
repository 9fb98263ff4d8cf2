"""Shards copied to a disk of this machine before training reads them, a little of each, again and again."""

import shutil
from pathlib import Path

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.terminal import progress
from kseg.recipe.sections import Recipe
from kseg.records.manifest import CaseEntry, Manifest
from kseg.records.prepared_case import damaged_shard
from kseg.storage.disk import check_writable
from kseg.storage.files import lock, sha256_of, whole_file
from kseg.storage.locations import Location, local, reaching
from kseg.storage.ownership import MARKER

PIECE = 1 << 22


def staged(recipe: Recipe, manifest: Manifest) -> tuple[Location, Manifest]:
    """Return where training finds the shards, and the manifest that names them there.

    Raises:
        InputError: see `stage`.
    """
    if not recipe.train.cache_dir:
        return recipe.records_folder, manifest
    return stage(recipe.records_folder, manifest, local(recipe.train.cache_dir))


def stage(folder: Location, manifest: Manifest, cache_dir: Path) -> tuple[Path, Manifest]:
    """Copy the shards to train and to validate on to `cache_dir`, unless they are there.

    A copy is named by its SHA-256, which is checked, and appears once it is whole: datasets share the
    folder, a new version of a shard is another file, a copy that was interrupted is continued. Others that
    stage wait for it.

    Returns:
        `cache_dir`, and the manifest with the names that shards have there.

    Raises:
        InputError: a shard is damaged or cannot be reached, the copies do not fit on the disk, or `cache_dir` is or
            lies in a folder that kseg made for something else, whose files it would mix with others.
    """
    place = cache_dir.resolve()
    if inside := next((one for one in (place, *place.parents) if (one / MARKER).is_file()), None):
        raise InputError(
            f"train.cache_dir '{cache_dir}' lies in '{inside}', which holds other files of kseg's: choose another"
        )
    check_writable(cache_dir)
    with (cache_dir / ".lock").open("a") as file:
        lock(file)
        missing = [case for case in manifest.to_learn_from if not _is_there(cache_dir, case)]
        need, free = sum(case.bytes for case in missing), shutil.disk_usage(cache_dir).free
        if need > free:
            raise InputError(
                f"train.cache_dir '{cache_dir}' has {free / 1e9:.1f} GB free, the shards of '{folder}' take "
                f"{need / 1e9:.1f} GB more: free space, or choose another"
            )
        if missing:
            say(f"copying {len(missing)} shards, {need / 1e9:.2f} GB, from '{folder}' to '{cache_dir}'")
        for case in progress(missing, "copying"):
            _copy(folder / case.file, cache_dir / _name(case), case)
    renamed = tuple(case.model_copy(update={"file": _name(case)}) for case in manifest.cases)
    return cache_dir, manifest.model_copy(update={"cases": renamed})


def _name(case: CaseEntry) -> str:
    return f"{case.sha256}.tfrecord"


def _is_there(cache_dir: Path, case: CaseEntry) -> bool:
    path = cache_dir / _name(case)
    return path.is_file() and path.stat().st_size == case.bytes


def _copy(shard: Location, target: Path, case: CaseEntry) -> None:
    with reaching(shard), shard.open("rb") as file, whole_file(target, on_disk=True) as path:
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy, PIECE)
        if sha256_of(path) != case.sha256:
            raise damaged_shard(shard)
