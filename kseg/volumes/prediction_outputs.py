"""Where the masks of scans go: known, distinct and free before the first scan is segmented."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kseg.console.errors import InputError
from kseg.storage.disk import longest_name
from kseg.storage.ownership import identity
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.extensions import split_name
from kseg.volumes.mask_hash import is_as_written
from kseg.volumes.prediction_inputs import Input
from kseg.volumes.write import mask_files


@dataclass(frozen=True)
class Output:
    """A scan and the files of its mask in the folder `out`, the first of them the mask itself."""

    scan: Input
    out: Path
    files: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the mask will be."""
        return self.out / self.files[0]


def plan_outputs(inputs: Iterable[Input], out: Path, force: bool) -> tuple[list[Output], list[tuple[Input, str]]]:
    """Return where the mask of each scan goes, and the scans whose mask has no place, with the reason of each.

    A mask has none where its name is taken: by a file that is read, whatever name that has; by one that kseg did not
    write there, or that was changed since; or, without `force`, by an earlier mask.

    Raises:
        InputError: the masks of two scans would have one name.
    """
    scans = list(inputs)
    read = {found for scan in scans for channel in scan.channels for found in _identities(channel)}
    outputs, refused = [], []
    for scan in scans:
        try:
            output = Output(scan, out, mask_files(scan.path, split_name(scan.channels[0])[1]))
            _check_place(output, read, force)
        except InputError as error:
            refused.append((scan, str(error)))
        else:
            outputs.append(output)
    _check_distinct(outputs)
    return outputs, refused


def _check_distinct(outputs: Sequence[Output]) -> None:
    taken: dict[str, Output] = {}
    for output in outputs:
        for name in output.files:
            # Disks of other systems take names for one that differ in case, or in how an umlaut is written.
            twin = taken.setdefault(unicodedata.normalize("NFC", name).casefold(), output)
            if twin is not output:
                raise InputError(
                    f"'{twin.scan.path}' and '{output.scan.path}' would be written to one name, '{output.path}': "
                    "predict them one by one, each to an --out of its own."
                )


def _check_place(output: Output, read: set[tuple[int, int]], force: bool) -> None:
    """Raise `InputError` where a file of a mask must not or cannot be written."""
    scan, out = output.scan, output.out
    if any(channel.is_dir() and out.exists() and out.samefile(channel) for channel in scan.channels):
        raise InputError(f"--out '{out}' is the folder of the scan '{scan.path}' itself: choose another --out")
    theirs: list[Path] = []
    ours: list[Path] = []
    longest = longest_name(out if out.is_dir() else Path())
    if too_long := [name for name in output.files if len(os.fsencode(name)) > longest]:
        raise InputError(f"'{too_long[0]}' is too long for a file's name: rename '{scan.path}'")
    own = files_of(output.path) if is_as_written(output.path) else []
    for path in map(out.joinpath, output.files):
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
