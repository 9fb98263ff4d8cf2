"""Where the masks of scans go: known, distinct and free before the first scan is segmented."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kseg.console.errors import InputError
from kseg.storage.disk import longest_name
from kseg.storage.ownership import identity
from kseg.volumes.dicom_seg.own_name import is_seg_as_written
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.extensions import DICOM, DICOM_SEG, split_name
from kseg.volumes.mask_hash import is_as_written
from kseg.volumes.prediction_inputs import Input
from kseg.volumes.write import mask_files_named

UNCERTAINTY = "_uncertainty"
"""Added to a mask's name for the volume of its uncertainty."""


@dataclass(frozen=True)
class Output:
    """A scan, its name set, and the files of its mask below the folder `out`, the first of them the mask itself.

    `uncertainty_files` are the same for the volume of its uncertainty; none where that is not written. `dicom_seg_file`
    is that of its DICOM SEG, empty where there is none to write.
    """

    scan: Input
    out: Path
    files: tuple[str, ...]
    uncertainty_files: tuple[str, ...] = ()
    dicom_seg_file: str = ""

    @property
    def folder(self) -> Path:
        """Where the files will be."""
        return self.out / self.scan.place

    @property
    def path(self) -> Path:
        """Where the mask will be."""
        return self.folder / self.files[0]

    @property
    def uncertainty(self) -> Path | None:
        """Where the volume of its uncertainty will be."""
        return self.folder / self.uncertainty_files[0] if self.uncertainty_files else None

    @property
    def dicom_seg(self) -> Path | None:
        """Where its DICOM SEG will be."""
        return self.folder / self.dicom_seg_file if self.dicom_seg_file else None

    @property
    def written(self) -> tuple[str, ...]:
        """The names of all files."""
        return (*self.files, *self.uncertainty_files, *filter(None, [self.dicom_seg_file]))

    @property
    def earlier_dicom_seg(self) -> Path | None:
        """The DICOM SEG of an earlier mask of this name, which stays where that of the new one is not written."""
        path = self.folder / f"{split_name(self.path)[0]}{DICOM_SEG}"
        with suppress(OSError):  # the name of the mask fits, this one may be too long
            return path if not self.dicom_seg_file and path.exists() else None
        return None

    @property
    def earlier_uncertainty(self) -> Path | None:
        """The uncertainty of an earlier mask of this name, which stays where that of the new one is not written."""
        stem, extension = split_name(self.path)
        path = self.folder / f"{stem}{UNCERTAINTY}{extension}"
        with suppress(OSError):  # the name of the mask fits, this one may be too long
            return path if not self.uncertainty_files and path.exists() else None
        return None

    @property
    def case(self) -> str:
        """What tables call the scan: its mask's path below `out`, without the file type."""
        return (self.scan.place / self.scan.name).as_posix()


def plan_outputs(
    inputs: Iterable[Input], out: Path, force: bool, uncertainty: bool = False, dicom_seg: bool = False
) -> tuple[list[Output], list[tuple[Input, str]]]:
    """Return where the mask of each scan goes, and the scans whose mask has no place, with the reason of each.

    Masks that would have one name lie in folders as their scans do, seen from the folder that all scans have in common.
    A mask has no place where its name is taken: by a file that is read, whatever name that has; by one that kseg did
    not write there, or that was changed since; without `force`, by an earlier mask; or by another scan's mask, still.
    With `uncertainty` the same holds for a volume of that beside each mask, with `dicom_seg` for a DICOM SEG beside
    each mask of a DICOM series or file.
    """
    scans = list(inputs)
    read = {found for scan in scans for channel in scan.channels for found in _identities(channel)}
    outputs, refused = _named(scans, out, uncertainty, dicom_seg)
    if _twins(outputs):
        outputs = _mirrored(outputs)
    free, twins = [], _twins(outputs)
    for number, output in enumerate(outputs):
        try:
            if twin := twins.get(number):
                raise InputError(
                    f"'{twin.scan.path}' and '{output.scan.path}' would be written to one name, '{output.path}': "
                    "predict them one by one, each to an --out of its own"
                )
            _check_place(output, read, force)
        except InputError as error:
            refused.append((output.scan, str(error)))
        else:
            free.append(output)
    return free, refused


def _named(
    scans: Sequence[Input], out: Path, uncertainty: bool, dicom_seg: bool
) -> tuple[list[Output], list[tuple[Input, str]]]:
    outputs, refused = [], []
    for scan in scans:
        try:
            for channel in scan.channels:
                if not channel.exists():
                    raise InputError(f"'{channel}' does not exist: correct the path.")
            name, extension = scan.name or split_name(scan.path)[0], split_name(scan.channels[0])[1]
            beside = mask_files_named(f"{name}{UNCERTAINTY}", extension) if uncertainty else ()
            seg = f"{name}{DICOM_SEG}" if dicom_seg and extension == DICOM else ""
            outputs.append(Output(replace(scan, name=name), out, mask_files_named(name, extension), beside, seg))
        except InputError as error:
            refused.append((scan, str(error)))
    return outputs, refused


def _twins(outputs: Sequence[Output]) -> dict[int, Output]:
    """Return for each mask that would have the name of another, by its number, that other one."""
    taken: dict[str, int] = {}
    twins: dict[int, Output] = {}
    for number, output in enumerate(outputs):
        for name in output.written:
            # Disks of other systems take names for one that differ in case, or in how an umlaut is written.
            place = unicodedata.normalize("NFC", str(output.scan.place / name)).casefold()
            twin = taken.setdefault(place, number)
            if twin != number:
                twins[number] = outputs[twin]
                twins.setdefault(twin, output)
    return twins


def _mirrored(outputs: Sequence[Output]) -> list[Output]:
    """Return the masks in folders as those of their scans, below the folder that all scans have in common."""
    folders = [Path(os.path.abspath(output.scan.path)).parent for output in outputs]  # noqa: PTH100 - keeps links
    common = os.path.commonpath(folders)
    return [
        replace(output, scan=replace(output.scan, place=folder.relative_to(common)))
        for output, folder in zip(outputs, folders, strict=True)
    ]


def _check_place(output: Output, read: set[tuple[int, int]], force: bool) -> None:
    """Raise `InputError` where a file of a mask must not or cannot be written."""
    scan, out = output.scan, output.folder
    if any(channel.is_dir() and out.exists() and out.samefile(channel) for channel in scan.channels):
        raise InputError(f"--out '{out}' is the folder of the scan '{scan.path}' itself: choose another --out")
    theirs: list[Path] = []
    ours: list[Path] = []
    longest = longest_name(output.out if output.out.is_dir() else Path())
    if too_long := [name for name in output.written if len(os.fsencode(name)) > longest]:
        raise InputError(f"'{too_long[0]}' is too long for a file's name: rename '{scan.path}'")
    heads = [path for path in (output.path, output.uncertainty) if path and is_as_written(path)]
    own = [file for path in heads for file in files_of(path)]
    if output.dicom_seg and is_seg_as_written(output.dicom_seg):
        own.append(output.dicom_seg)
    for path in map(out.joinpath, output.written):
        if not (path.is_symlink() or path.exists()):
            continue
        if path.exists() and identity(path) in read:
            raise InputError(f"'{path}' is a scan that is read, not a mask of '{scan.path}': choose another --out")
        (ours if path in own else theirs).append(path)
    if theirs:
        raise InputError(
            f"'{theirs[0]}' exists already, and is not as kseg wrote it there: move it away, or choose another --out"
        )
    if ours and not force:
        raise InputError(f"'{ours[0]}' exists already: pass --force to replace it, or choose another --out")


def _identities(channel: Path) -> list[tuple[int, int]]:
    """The files that a channel is read from; none where it is not there."""
    return [identity(file) for file in files_of(channel) if file.exists()]
