"""The volumes of a folder as people have it, without a list: what is where, and which values its label maps hold."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from kseg.console.errors import InputError
from kseg.storage.ownership import BY_SYSTEMS
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.dicom_file import is_segmentation
from kseg.volumes.formats.dicom_magic import CONTENTS, is_dicom
from kseg.volumes.formats.extensions import DICOM_EXTENSIONS, DICOM_SEG, EXTENSIONS, split_name
from kseg.volumes.formats.open import open_voxels
from kseg.volumes.labels import MAX_VALUES, is_whole
from kseg.volumes.volume_stream import VolumeStream, stream_of_file

PLANES = 32


@dataclass(frozen=True)
class FolderContent:
    """What lies below a folder, by paths there, in order of names; hidden files and folders are passed over.

    `volumes` have their names without the file type; a folder of DICOM files is one volume. `others` are files that are
    neither a volume nor part of one. `unreadable` are files and folders that cannot be looked into, with the reason.
    """

    volumes: Mapping[PurePath, str]
    others: tuple[PurePath, ...]
    unreadable: Mapping[PurePath, str]


def content_below(folder: Path) -> FolderContent:
    """Return what lies below a folder. Links to folders are followed, each folder once; a link to nothing is a volume.

    What cannot be opened is still a volume, if it is named as one: whoever opens it says why.
    """
    volumes, others, unreadable = dict[PurePath, str](), list[PurePath](), dict[PurePath, str]()
    for path, trouble in _walk(folder, set()):
        below = path.relative_to(folder)
        if trouble is None:
            volumes[below] = split_name(path)[0]
        elif trouble:
            unreadable[below] = trouble
        else:
            others.append(below)
    return FolderContent(volumes, tuple(others), unreadable)


def _walk(folder: Path, seen: set[Path]) -> Iterator[tuple[Path, str | None]]:
    """Yield each volume with None, what cannot be looked into with the reason, and other files with nothing."""
    try:
        place = folder.resolve()
        if place in seen:
            return
        seen.add(place)
        entries = sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
        folders = {entry for entry in entries if os.path.isdir(entry)}  # noqa: PTH112 (see `split_name`)
    except OSError as error:
        yield folder, f"'{folder}' cannot be read: {error.strerror}; change its permissions, or leave it out."
        return
    files = [entry for entry in entries if entry not in folders and entry.name not in BY_SYSTEMS]
    named = [file for file in files if file.name.lower().endswith(EXTENSIONS)]
    parts = {part for file in named for part in files_of(file) if part != file}
    volumes = [file for file in named if file not in parts]
    known = parts.union(volumes)
    others = [file for file in files if file not in known]
    slices, troubles = _slices(others)
    if slices:
        yield folder, None
    yield from ((file, None) for file in volumes)
    for file in others:
        if file not in slices and file.name.upper() != CONTENTS:
            yield file, troubles.get(file, "")
    for entry in sorted(folders):
        yield from _walk(entry, seen)


def _slices(files: list[Path]) -> tuple[set[Path], dict[Path, str]]:
    """Return which of a folder's files are DICOM, and what is wrong with others that should be.

    A DICOM SEG beside a mask is no slice: a folder of masks is none of scans.
    """
    slices, troubles = set(), {}
    for file in files:
        try:
            if is_dicom(file) and not (file.name.endswith(DICOM_SEG) and is_segmentation(file)):
                slices.add(file)
        except InputError as error:
            troubles[file] = str(error)
    if not slices:  # beside slices they are told when the series is opened
        left = (file for file in files if file not in troubles and not is_dicom(file))
        named = (file for file in left if file.name.lower().endswith(DICOM_EXTENSIONS))
        troubles |= {file: f"'{file}' is no DICOM file, though it is named as one: fetch it anew." for file in named}
    return slices, troubles


def values_in(label: Path) -> set[int]:
    """Return the values of a label map.

    Raises:
        InputError: it cannot be read, is no label map, or holds more than `MAX_VALUES` of them.
    """
    stream = stream_of_file(open_voxels(label))
    if stream.channels > 1:
        raise InputError(f"label '{label}' holds {stream.channels} values a voxel: merge them into one label map")
    found = whole_values(stream, MAX_VALUES)
    if found is None:
        raise InputError(f"label '{label}' is no label map: it holds more than {MAX_VALUES} values, or fractions")
    return found


def whole_values(stream: VolumeStream, most: int) -> set[int] | None:
    """Return the values of a volume, or None, as soon as that is known, if they are more than `most`, or fractions."""
    found, is_zero = set[int](), True
    for slab in stream.read(PLANES):
        for plane in slab.array:  # an image shows what it is in the first of them
            values = _values(plane)
            if not is_whole(values).all():
                return None
            found.update(map(round, values.tolist()))
            is_zero = is_zero and not values.any()
            if len(found) > most:
                return None
    return None if found == {0} and not is_zero else found  # intensities of less than a thousandth


def begins_as_image(volume: Path) -> bool:
    """Whether the first planes of a volume that are not all alike hold more values than label maps do, or fractions.

    Raises:
        InputError: it cannot be read.
    """
    stream = stream_of_file(open_voxels(volume))
    for slab in stream.read(PLANES):
        values = _values(slab.array)
        if len(values) > 1:
            are_labels = is_whole(values).all() and len(set(map(round, values.tolist()))) > 1
            return stream.channels > 1 or len(values) > MAX_VALUES or not are_labels
    return False


def _values(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.flatnonzero(np.bincount(array.ravel(), minlength=256))
    return np.unique(array)
