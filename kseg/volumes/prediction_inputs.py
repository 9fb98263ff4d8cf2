"""Scans to segment, as a user names them: files, folders of files, folders of DICOM series."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import some_of
from kseg.volumes.channel_files import gather_channels
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.dicom_magic import CONTENTS, is_dicom
from kseg.volumes.formats.extensions import EXTENSIONS

MAX_SHOWN = 5


@dataclass(frozen=True)
class Input:
    """A scan: `channels` are its files in order, or a DICOM folder; `path` gives the output its name."""

    path: Path
    channels: tuple[Path, ...]


def find_inputs(paths: Iterable[Path], num_channels: int, channel_names: Sequence[str] = ()) -> list[Input]:
    """Return the scans that `paths` stand for.

    A folder stands for the volumes and the DICOM series in it; one that has neither for the series in each of its
    folders. What is passed over there is said. For several channels, files of one scan whose names end with the
    channels' numbers or names are put together (`kseg.volumes.channel_files`); of one channel each file is a scan,
    under its own name.

    Raises:
        InputError: a folder without scans, or a channel that is missing.
    """
    named = {_place(file): file for path in paths for file in _volumes_of(path)}  # once, however often it is named
    files = list(named.values())
    if num_channels == 1:
        return [Input(file, (file,)) for file in files]
    return [Input(path, tuple(channels)) for path, channels in gather_channels(files, num_channels, channel_names)]


def _place(path: Path) -> Path:
    """What two names of one thing have in common; a link is a scan of its own, with a name of its own."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _volumes_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    # A link to nothing is a scan that got lost: it is one that cannot be opened, and told as such.
    found = [entry for entry in entries if not entry.is_dir() and entry.name.lower().endswith(EXTENSIONS)]
    slices = {entry for entry in entries if is_dicom(entry)}
    series = [path] if slices else []
    if not (found or series):
        series = [entry for entry in entries if _is_series(entry)]
    if not (found or series):
        raise InputError(
            f"folder '{path}' holds no scan ({_some(entries) or 'it is empty'}): name files that end in "
            f"{', '.join(EXTENSIONS)}, or folders of DICOM files"
        )
    known = {file for volume in found for file in files_of(volume)} | slices | {*series, path / CONTENTS}
    passed_over = [entry for entry in entries if entry not in known]
    beside = [entry for entry in passed_over if _is_series(entry)]
    if others := [entry for entry in passed_over if entry not in beside]:
        say(f"passed over in '{path}', as no scans: {_some(others)}")
    if beside:
        say(f"passed over in '{path}', as they lie beside scans: {_some(beside)}; name DICOM folders one by one")
    return found + series


def _is_series(entry: Path) -> bool:
    return entry.is_dir() and any(map(is_dicom, entry.iterdir()))


def _some(entries: Sequence[Path]) -> str:
    return some_of([f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries], MAX_SHOWN)
