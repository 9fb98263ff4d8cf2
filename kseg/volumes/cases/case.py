"""What a case is, and what the cases of a dataset have in common."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kseg.volumes.labels import LabelMap

UNSAFE_NAME = re.compile(r"^\.|[/\\\x00-\x1f\x7f\ud800-\udfff]|^$")
"""Hidden, '..', a path, unprintable, not Unicode, or nothing."""


@dataclass(frozen=True)
class Case:
    """One scan with its labels: an image file for each channel (or one that holds them all).

    `fault` is what the list of cases lacks of this one; files that it does not name are not there.
    """

    case: str
    subject: str
    split: str  # "train", "val", "test", or "" for a case that is still to be assigned
    images: tuple[Path, ...]
    label: Path
    fault: str = ""

    @property
    def lacking(self) -> str:
        """What the case lacks, a sentence, before any of its files is opened; empty where nothing is missing."""
        if self.fault:
            return self.fault
        files = (*(("image", image) for image in self.images), ("label", self.label))
        return next(
            (
                f"{what} '{path}' of case '{self.case}' is missing: add it, or drop the case."
                for what, path in files
                if not path.exists()
            ),
            "",
        )


@dataclass(frozen=True)
class CaseList:
    """The cases of a dataset; `labels` is None where the source does not name its classes.

    `channels_stated` is False where each case has one image, and nothing says how many channels that holds. `faults`
    are of what is listed besides, and is no case.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: LabelMap | None
    cases: tuple[Case, ...]
    channels_stated: bool = True
    faults: tuple[str, ...] = ()


def path_as_listed(folder: Path, text: str) -> Path:
    """Return the file that a list in `folder` names: relative to it, perhaps as on Windows, with a variable or `~`.

    What is written is tried as it stands first; what is nowhere is taken as written on Windows, if it has backslashes.
    """
    written = (text, text.replace("\\", "/"), os.path.expandvars(text), os.path.expanduser(text))  # noqa: PTH111
    return next((path for path in map(folder.joinpath, written) if path.exists()), folder / written[1])
