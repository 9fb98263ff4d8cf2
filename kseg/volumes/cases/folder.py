"""The volumes of a folder as people have it, without a list: what is where, and which values its label maps hold."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.dicom_magic import is_dicom
from kseg.volumes.formats.extensions import EXTENSIONS, is_unicode, split_name
from kseg.volumes.formats.open import open_stored
from kseg.volumes.volume_stream import stream_of_file

PLANES = 32
MAX_VALUES = 256


def volumes_below(folder: Path) -> dict[PurePath, str]:
    """Return each volume below a folder, by its path there, with its name without the file type; in order of names.

    A folder of DICOM files is one volume. Hidden files and folders, and what is no volume, are passed over. Links to
    folders are followed, each folder once.

    Raises:
        InputError: a volume's name is not Unicode.
    """
    found: dict[PurePath, str] = {path.relative_to(folder): split_name(path)[0] for path in _volumes(folder, set())}
    if unfit := [path for path in found if not is_unicode(str(path))]:
        raise InputError(f"{str(unfit[0])!r} is a name that is not UTF-8: rename it")
    return found


def _volumes(folder: Path, seen: set[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in seen:
        return
    seen.add(place)
    entries = sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
    if any(is_dicom(entry) for entry in entries if entry.is_file() and not entry.name.lower().endswith(EXTENSIONS)):
        yield folder
    files = [entry for entry in entries if entry.is_file() and entry.name.lower().endswith(EXTENSIONS)]
    parts = {part for file in files for part in files_of(file) if part != file}
    yield from (file for file in files if file not in parts)
    for entry in entries:
        if entry.is_dir():
            yield from _volumes(entry, seen)


def values_in(label: Path) -> set[int]:
    """Return the values of a label map.

    Raises:
        InputError: it cannot be read, is no label map, or holds more than `MAX_VALUES` of them.
    """
    stream = stream_of_file(open_stored(label))
    if stream.channels > 1:
        raise InputError(f"label '{label}' holds {stream.channels} values a voxel: merge them into one label map")
    found: set[float] = set()
    for slab in stream.read(PLANES):
        found |= set(_values(slab.array))
        if len(found) > MAX_VALUES or any(value != round(value) for value in found):
            raise InputError(f"label '{label}' is no label map: it holds more than {MAX_VALUES} values, or fractions")
    return {int(value) for value in found}


def _values(array: np.ndarray) -> list[float]:
    if array.dtype == np.uint8:
        return np.flatnonzero(np.bincount(array.ravel(), minlength=256)).tolist()
    return np.unique(array).tolist()
