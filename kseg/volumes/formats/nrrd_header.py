"""What the header of an NRRD file says (teem.sourceforge.net/nrrd/format.html), beside its voxels' place.

ITK reads the voxels and their place. It takes 1 mm where a spacing is absent, overlooks units, and knows two or three
spaces, by its version: of any other it takes the axes for left, posterior and superior.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats.header import absent_voxels, foreign_unit

FIELD = re.compile(r"([^:#]+): ?(.*)")
PATTERN = re.compile(r"(?:[^%]|%%)*?%\d*d\S*")  # of NrrdIO: the first '%' that is not doubled, digits, a d
NUMBERED = re.compile(r"((?:[^%\s]|%%)*%0?\d*d(?:[^%\s]|%%)*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?")
LIST = re.compile(r"LIST(?:\s+\d+)?")
DOMAIN_KINDS = ("domain", "space", "time", "none", "???")  # the others are channels
LPS, RAS = "left-posterior-superior", "right-anterior-superior"
SPACES = {  # as ITK places them; those of a scanner or of nobody are right-handed as LPS is, for which it takes them
    *(LPS, RAS, "lps", "ras", f"{LPS}-time", "lpst"),  # SimpleITK 2.5.5 mirrors left-anterior-superior, 2.5.7 does not
    *("scanner-xyz", "scanner-xyz-time", "3d-right-handed", "3dr", "3d-right-handed-time", "3drt"),
}
BZIP2 = ("bzip2", "bz2")
MM = re.compile(r"|\?\?\?|none|mm|milli-?met(er|re)s?", re.IGNORECASE)


@dataclass(frozen=True)
class NrrdHeader:
    """The fields of a header as text, their names in lower case, and the lines behind a list of files."""

    path: Path
    fields: dict[str, str]
    lines: tuple[str, ...] = ()

    @property
    def data_file(self) -> str:
        """What the header says of its voxels' files; empty where they follow in its own."""
        return self.fields.get("data file", self.fields.get("datafile", ""))

    @property
    def literal(self) -> Path | None:
        """The one file of the voxels beside the header, taken by its name; None where there is no such file."""
        if not self.data_file or (LIST.fullmatch(self.data_file) and self.lines):
            return None
        file = self.path.parent / self.data_file
        return file if file.is_file() else None

    @property
    def is_misread(self) -> bool:
        """Whether ITK would take the name of the one file for a pattern or a list."""
        name = self.data_file
        return self.literal is not None and bool(PATTERN.match(name) or name.startswith("LIST"))

    def files(self) -> list[Path]:
        """The files of the voxels; they need not exist, and a pattern that is none stands for nothing."""
        if not self.data_file:
            return [self.path]
        if literal := self.literal:
            return [literal]
        names = [self.data_file]
        if LIST.fullmatch(self.data_file):
            names = list(self.lines)
        elif match := NUMBERED.fullmatch(self.data_file):
            first, last, step = (int(number) for number in match.groups()[1:])
            chosen = range(first, last + (1 if step > 0 else -1), step) if step else ()
            names = [match[1] % number for number in chosen]
        return [self.path.parent / name for name in names]

    def unstated_axes(self) -> tuple[int, ...]:
        """Axes (0, 1, 2) whose spacing the header does not state."""
        if "space directions" in self.fields:
            vectors = re.findall(r"none|\([^)]*\)", self.fields["space directions"], re.IGNORECASE)
            stated = [_is_stated(vector.strip("()").split(",")) for vector in vectors]
        else:
            stated = [_is_stated([number]) for number in self.fields.get("spacings", "").split()]
        stated = self._of_domain(stated)
        return tuple(axis for axis in range(3) if not any(stated[axis : axis + 1]))

    def check_space(self) -> None:
        """Raise `InputError` where ITK would read other places than the header states."""
        space = self.fields.get("space", "")
        if space and space.lower() not in SPACES:
            raise InputError(
                f"'{self.path}' is in the space '{space}', which some readers mirror: write it in {LPS} or {RAS}."
            )
        if space and "spacings" in self.fields and "space directions" not in self.fields:
            raise InputError(
                f"'{self.path}' has `spacings` in a `space`, which NRRD does not allow: write `space directions`, or "
                "leave the `space` out."
            )
        for name, axes in (("space units", list), ("units", self._of_domain)):
            units = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', self.fields.get(name, ""))]
            if foreign := [unit for unit in axes(units)[:3] if not MM.fullmatch(unit)]:
                raise foreign_unit(self.path, foreign[0], name)

    def check_voxels(self) -> None:
        """Raise `InputError` where a file of the voxels is missing, or they are packed in a way that ITK lacks."""
        if missing := [file for file in self.files() if not file.is_file()]:
            raise absent_voxels(self.path, missing[0])
        if (encoding := self.fields.get("encoding", "").lower()) in BZIP2:
            raise InputError(f"'{self.path}' is packed by {encoding}, which is not read: write it with gzip.")

    def _of_domain(self, values: list[Any]) -> list[Any]:
        """Of one value for each axis those of the axes that are no channels."""
        kinds = self.fields.get("kinds", "").lower().split()
        if len(kinds) != len(values):
            return values
        return [value for value, kind in zip(values, kinds, strict=True) if kind in DOMAIN_KINDS]


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read a header; names in it are bytes of the file system, in whatever encoding."""
    fields: dict[str, str] = {}
    lines: list[str] = []
    with path.open("rb") as file:
        file.readline()  # the magic
        while (line := os.fsdecode(file.readline()).strip()) and not lines:
            match = FIELD.fullmatch(line)
            if match and not match[2].startswith("="):
                fields[match[1].strip().lower()] = match[2].strip()
            if match and match[2].startswith("LIST"):
                lines = [os.fsdecode(one.strip()) for one in file if one.strip()]
    return NrrdHeader(path, fields, tuple(lines))


def _is_stated(words: list[str]) -> bool:
    """Whether these are numbers, and no vector of zeros."""
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        return False
    return bool(np.isfinite(numbers).all() and numbers.any())
