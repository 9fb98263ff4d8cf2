"""What the header of a MetaImage says (itk.org/Wiki/MetaIO): fields, the files of its voxels, what it leaves open."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.volumes.formats.header import absent_voxels, damaged_file, foreign_unit

Packing = Literal["raw", "compressed", "text"]
LOCAL = ("LOCAL", "Local", "local")
LIST = re.compile(r"LIST(?:\s+(\d)D?)?")
NUMBERED = re.compile(r"(?:[^%]|%%)*%0?\d*[diu](?:[^%]|%%)*")  # a name with one place for a number
RANGE = re.compile(r"(.*?\S)((?:\s+-?\d+){0,3})")  # first number, last number and step behind it
FILE_FIELD = "ElementDataFile"
NO_FIELD = "\n"  # stands for the name of a line that has none, by which MetaIO loses the next one
SPACINGS = ("ElementSpacing", "ElementSize")  # MetaIO takes the first that is there
MM = ("", "?", "mm")
NEEDED = ("NDims", "DimSize", "ElementType", FILE_FIELD)
VECTORS = {  # MetaIO takes what is missing in these from the next line
    1: ("Offset", "Position", "Origin", "CenterOfRotation", *SPACINGS),
    2: ("TransformMatrix", "Rotation", "Orientation"),
}
MAX_AXES = 10  # of MetaIO


@dataclass(frozen=True)
class MetaHeader:
    """The fields of a header as text, the byte after them, and the lines that follow there: a list of files."""

    path: Path
    fields: dict[str, str]
    end: int
    lines: tuple[str, ...] = ()

    def numbers(self, name: str) -> list[int]:
        """The whole numbers of a field; none where it is absent or holds something else."""
        words = self.fields.get(name, "").split()
        return [int(word) for word in words] if all(re.fullmatch(r"-?\d+", word) for word in words) else []

    def says(self, name: str) -> bool:
        """Whether a field is true."""
        return self.fields.get(name, "").startswith(("T", "t", "1"))

    @property
    def is_local(self) -> bool:
        """Whether the voxels follow the header in its own file."""
        return self.fields.get(FILE_FIELD) in LOCAL

    @property
    def literal(self) -> Path | None:
        """The one file of the voxels beside the header, taken by its name; None where there is no such file.

        A name with a '%' is one, and no pattern, where a file bears it; ITK repeats a plane then, or divides by zero.
        """
        name = self.fields.get(FILE_FIELD, "")
        if self.is_local or not name or (LIST.fullmatch(name) and self.lines):
            return None
        file = self.path.parent / name
        return file if file.is_file() else None

    @property
    def packing(self) -> Packing:
        """How the voxels are written; as in ITK, text only where the header says so."""
        if "BinaryData" in self.fields and not self.says("BinaryData"):
            return "text"
        return "compressed" if self.says("CompressedData") else "raw"

    @property
    def byte_order(self) -> str:
        """NumPy's sign of the voxels' byte order."""
        return ">" if self.says("BinaryDataByteOrderMSB") or self.says("ElementByteOrderMSB") else "<"

    def files(self) -> list[Path]:
        """The files of the voxels, in their order; they need not exist.

        Raises:
            InputError: a pattern or list that does not fit the planes.
        """
        name = self.fields.get(FILE_FIELD, "")
        if self.is_local or not name:
            return [self.path]
        if literal := self.literal:
            return [literal]
        sizes = self.numbers("DimSize")
        if match := LIST.fullmatch(name):
            dimension = int(match[1] or 0)
            dimension = dimension if 0 < dimension <= len(sizes) else len(sizes) - 1
            names = list(self.lines[: int(np.prod(sizes[dimension:]))])
            self._check_count(len(names), int(np.prod(sizes[dimension:])))
        elif "%" in name:
            names = self._numbered(name, sizes[-1] if sizes else 0)
        else:
            names = [name]
        return [self.path.parent / name for name in names]

    def spacing_mm(self) -> list[float | None]:
        """The spacing along each of the three axes; None where the header does not state one that is a length."""
        given = next((self.fields[name] for name in SPACINGS if name in self.fields), "").split()
        return [_length(given[axis : axis + 1]) for axis in range(3)]

    def unstated_axes(self) -> tuple[int, ...]:
        """Axes (0, 1, 2) whose spacing the header does not state, where ITK takes 1 mm or nothing."""
        return tuple(axis for axis, length in enumerate(self.spacing_mm()) if length is None)

    def check(self) -> None:
        """Raise `InputError` for numbers of axes that end the process in ITK, and for a unit that it overlooks."""
        if missing := [name for name in NEEDED if not self.fields.get(name)]:
            raise damaged_file(self.path, f"its header lacks {missing[0]}")
        if NO_FIELD in self.fields:
            raise damaged_file(self.path, f"its header has the line '{self.fields[NO_FIELD][:40]}'")
        axes, sizes, channels = (self.numbers(name) for name in ("NDims", "DimSize", "ElementNumberOfChannels"))
        if len(axes) != 1 or not 1 <= axes[0] <= MAX_AXES or len(sizes) != axes[0] or min(sizes) < 1:
            raise damaged_file(
                self.path, f"it has the axes {self.fields.get('NDims')}, of {self.fields.get('DimSize')} voxels"
            )
        for power, names in VECTORS.items():
            for name in names:
                words = self.fields.get(name, "").split()
                if name in self.fields and len(words) != axes[0] ** power:
                    shown = " ".join(words) or "nothing"
                    raise damaged_file(self.path, f"{name} must be {axes[0] ** power} numbers, and is {shown}")
        for name in ("ElementNumberOfChannels", "HeaderSize"):
            if name in self.fields and len(self.numbers(name)) != 1:
                raise damaged_file(self.path, f"{name} must be a number, and is {self.fields[name] or 'nothing'}")
        if channels and channels[0] < 1:
            raise damaged_file(self.path, f"its voxels have {channels[0]} channels")
        if (unit := self.fields.get("DistanceUnits", "")) not in MM:
            raise foreign_unit(self.path, unit, "DistanceUnits")

    def _numbered(self, name: str, count: int) -> list[str]:
        match = RANGE.fullmatch(name)
        if match is None or not NUMBERED.fullmatch(match[1]):
            raise absent_voxels(self.path, name)
        numbers = [int(word) for word in match[2].split()]
        first = numbers[0] if numbers else 1
        last = numbers[1] if len(numbers) > 1 else first + count - 1
        step = numbers[2] if len(numbers) > 2 else max(1, (last - first) // max(1, count - 1))
        chosen = range(first, last + 1, step) if step > 0 else ()
        self._check_count(len(chosen), count)
        return [match[1] % number for number in chosen]

    def _check_count(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise InputError(
                f"'{self.path}' names {counted(found, 'file')} of voxels and needs {wanted}: fix {FILE_FIELD}."
            )


def read_meta_header(path: Path) -> MetaHeader:
    """Read a header; names in it are bytes of the file system, in whatever encoding."""
    fields: dict[str, str] = {}
    lines: Sequence[bytes] = ()
    with path.open("rb") as file:
        while FILE_FIELD not in fields and (line := file.readline()):
            key, separator, value = re.sub(rb"[=:]", b"\0", line, count=1).partition(b"\0")
            name = key.strip().decode("latin-1") if separator or not key.strip() else NO_FIELD
            fields[name] = os.fsdecode((value if separator else key).strip())
        end = file.tell()
        if fields.get(FILE_FIELD, "").startswith("LIST"):
            lines = file.read().splitlines()
    return MetaHeader(path, fields, end, tuple(os.fsdecode(line.strip()) for line in lines if line.strip()))


def _length(words: Sequence[str]) -> float | None:
    """The number that stands there, if it is a length; a negative one turns its axis round."""
    try:
        length = float(words[0]) if words else 0.0
    except ValueError:
        return None
    return length if np.isfinite(length) and length != 0 else None
