"""Scans to segment, as a user names them: files, folders of files, folders of DICOM series."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.formats.names import EXTENSIONS

CHANNEL = re.compile(r"_(\d{4})(?=\.[A-Za-z]+(\.gz)?$)")  # nnU-Net's way: CASE_0000.nii.gz, CASE_0001.nii.gz


@dataclass(frozen=True)
class Input:
    """A scan: `channels` are its files in order, or a DICOM folder; `path` gives the output its name."""

    path: Path
    channels: tuple[Path, ...]


def find_inputs(paths: Iterable[Path], num_channels: int) -> list[Input]:
    """Return the scans that `paths` stand for.

    A folder stands for the volumes in it; one without volumes for a DICOM series, or for a series in each of its
    folders. For several channels, files of one case with nnU-Net's endings `_0000`, `_0001` are one scan.

    Raises:
        InputError: an empty folder.
    """
    files = [file for path in paths for file in _volumes_of(path)]
    return list(_grouped(files)) if num_channels > 1 else [Input(file, (file,)) for file in files]


def _volumes_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    volumes = [entry for entry in entries if entry.is_file() and entry.name.lower().endswith(EXTENSIONS)]
    series = [path] if any(entry.is_file() for entry in entries) else [entry for entry in entries if entry.is_dir()]
    if not (volumes or series):
        raise InputError(f"folder '{path}' is empty: name scans, or a folder that holds some.")
    return volumes or series


def _grouped(files: list[Path]) -> Iterator[Input]:
    cases: dict[Path, list[Path]] = {}
    for file in files:
        cases.setdefault(file.with_name(CHANNEL.sub("", file.name)), []).append(file)
    for path, members in cases.items():
        yield Input(path, tuple(sorted(members)))
