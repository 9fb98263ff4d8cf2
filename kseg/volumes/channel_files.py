"""Which files are the channels of one scan, and in which order: said by how their names end, never by how they sort."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.volumes.channels import count_channels
from kseg.volumes.formats.extensions import split_name

NUMBER = re.compile(r"(.+)_(\d{4})")  # nnU-Net's way: CASE_0000.nii.gz, CASE_0001.nii.gz
COLUMN = "image_"  # with which columns of a CSV manifest begin


class _Channel(NamedTuple):
    """A file that holds one channel of `scan`, the path without what tells the channels apart."""

    scan: Path
    numbered: bool
    channel: int


class Gathered(NamedTuple):
    """Scans put together: `scans` are paths that stand for them, with their files in the order of the channels.

    `incomplete` are such paths of scans of which a channel is missing, there twice, or one too many, with the reason.
    """

    scans: list[tuple[Path, list[Path]]]
    incomplete: dict[Path, str]


def gather_channels(files: Iterable[Path], number: int, names: Sequence[str] = ()) -> Gathered:
    """Put together the files of scans that have one for each channel; a file that holds all channels is a scan.

    Files in one folder that differ in their ends alone are one scan: `_0000`, `_0001`, ... as nnU-Net has them, or the
    channels' names (`_t1`, `_t2`; a column `image_t1` of a CSV manifest counts as `t1`, capitals as small letters).

    Args:
        files: in the order in which scans are to come.
        number: of channels, more than one.
        names: of these; empty where they are not known.
    """
    suffixes = suffixes_of(names)
    scans: dict[tuple[Path, bool], dict[int, Path]] = {}
    incomplete: dict[Path, str] = {}
    for file in files:
        part = _channel_of(file, suffixes)
        if part is None or not _holds_one(file):
            scans[file, False] = {0: file}
            continue
        found = scans.setdefault((part.scan, part.numbered), {})
        if (other := found.setdefault(part.channel, file)) != file:
            twins = f"'{other}' and '{file}' are one channel of one scan: rename one, or leave it out"
            incomplete.setdefault(part.scan, twins)
    for (scan, numbered), found in scans.items():
        if scan not in found.values() and sorted(found) != list(range(number)):
            incomplete.setdefault(scan, _incomplete(scan, numbered, found, number, suffixes))
    return Gathered(
        [
            (scan, [found[channel] for channel in sorted(found)])
            for (scan, _), found in scans.items()
            if scan not in incomplete
        ],
        incomplete,
    )


def with_siblings(files: Iterable[Path], names: Sequence[str] = ()) -> list[Path]:
    """Return files of scans that have one for each channel, each with those in its folder that are others of its scan.

    What belongs together is told as by `gather_channels`; `names` are those of the channels.
    """
    suffixes = suffixes_of(names)

    @cache
    def parts_in(folder: Path) -> list[tuple[Path, _Channel]]:
        parts = ((entry, _channel_of(entry, suffixes)) for entry in sorted(folder.iterdir()))
        return [(entry, part) for entry, part in parts if part]

    whole: list[Path] = []
    for file in files:
        whole.append(file)
        part = _channel_of(file, suffixes)
        if part and file.is_file() and _holds_one(file):
            whole += [
                other
                for other, its in parts_in(file.parent)
                if (its.scan, its.numbered) == (part.scan, part.numbered) and its.channel != part.channel
            ]
    return list(dict.fromkeys(whole))


def suffixes_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return how the files of channels with these names end; empty where names cannot tell them apart."""
    suffixes = tuple(name.strip().casefold().removeprefix(COLUMN) for name in names)
    return suffixes if all(suffixes) and len(set(suffixes)) == len(suffixes) else ()


def _channel_of(file: Path, suffixes: Sequence[str]) -> _Channel | None:
    """What a file's name says of its channel; None where it says nothing."""
    try:
        stem, ending = _split(file)
    except InputError:  # told when the scan is opened
        return None
    if not ending or file.is_dir():
        return None
    if match := NUMBER.fullmatch(stem):
        return _Channel(file.with_name(match[1] + ending), True, int(match[2]))
    fitting = [index for index, suffix in enumerate(suffixes) if re.fullmatch(f".+[_-]{re.escape(suffix)}", stem, re.I)]
    if not fitting:
        return None
    longest = max(fitting, key=lambda index: len(suffixes[index]))
    return _Channel(file.with_name(stem[: -len(suffixes[longest]) - 1] + ending), False, longest)


def _split(file: Path) -> tuple[str, str]:
    """A file's name without the ending that says its type, and that, as it is written."""
    stem = split_name(file)[0]
    return stem, file.name[len(stem) :]


def _holds_one(file: Path) -> bool:
    try:
        return count_channels(file) == 1
    except InputError:  # told when the scan is opened
        return True


def _incomplete(scan: Path, numbered: bool, found: dict[int, Path], number: int, suffixes: Sequence[str]) -> str:
    ending = _split(next(iter(found.values())))[1]
    stem = scan.name.removesuffix(ending)
    by_number = [f"{stem}_{channel:04d}{ending}" for channel in range(number)]
    by_name = [f"{stem}_{suffix}{ending}" for suffix in suffixes]
    wanted = by_number if numbered else by_name
    lacking = [wanted[channel] for channel in range(number) if channel not in found]
    trouble = f"but no {' and no '.join(lacking)}" if lacking else f"more than {counted(number, 'channel')}"
    order = f" in the order {', '.join(suffixes)}" if suffixes else ""
    return (
        f"scan '{scan}' has {', '.join(found[channel].name for channel in sorted(found))}, {trouble}: name its files "
        f"{', '.join(by_number)}{order}{', or ' + ', '.join(by_name) if by_name else ''}, all of one type"
    )
