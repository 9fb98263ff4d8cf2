"""NRRD (.nrrd, .nhdr) as it is found: headers are text, and written here line by line."""

import bz2
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawn import PLAIN, Description, Grid, Written, content_for, contents, grids, placed, rarely, voxels
from hypothesis import strategies as st

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "i2": ("short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "uint16"),
    "i4": ("int", "signed int", "int32"),
    "u4": ("uint", "unsigned int", "uint32"),
    "i8": ("longlong", "long long int", "int64"),
    "u8": ("ulonglong", "unsigned long long", "uint64"),
    "f4": ("float",),
    "f8": ("double",),
}
SPACES = {  # RAS from the file's axes
    **dict.fromkeys(("left-posterior-superior", "LPS", "Left-Posterior-Superior"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "RAS"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "LAS"), (-1.0, 1.0, 1.0)),  # refused
}
MIRRORED = ("left-anterior-superior", "LAS")  # by SimpleITK until 2.5.5, the oldest that is allowed
UNKNOWN_SPACES = ("scanner-xyz", "3D-right-handed", "3D-left-handed", "3")  # the last by `space dimension`
FILES = ("attached", "scan.raw", "other name.raw", "voxels/scan.raw", "leg 50%.raw", "LIST", "slice%02d.raw 1 {} 1")
DAMAGE = ("cut short", "one byte short", "no data", "no sizes", "type", "magic", "stream", "encoding", "words")


@dataclass(frozen=True, repr=False)
class Nrrd(Description):
    """One NRRD file; `kinds` says where channels are: "" none, "first" or "last"."""

    grid: Grid = PLAIN
    dtype: str = "i2"
    alias: int = 0
    content: str = "distinct"
    name: str = "scan"
    data: str = "attached"
    encoding: str = "raw"
    big_endian: bool = False
    spacing: str = "directions"
    space: str = "left-posterior-superior"
    origin: bool = True
    units: str | None = None
    channels: str = ""
    kind: str = "vector"
    line_skip: int = 0
    byte_skip: int = 0
    comment: bool = False
    line_end: str = "\n"
    digits: int = 17
    damage: str | None = None

    @property
    def whole(self) -> bool:
        """The voxels are in one file."""
        return not (self.data == "LIST" or self.data.startswith("slice"))

    def write(self, folder: Path) -> Written:
        path = folder / (self.name + (".nrrd" if self.data == "attached" else ".nhdr"))
        channels = (2,) if self.channels else ()
        array = voxels((*self.grid.shape, *channels), (">" if self.big_endian else "<") + self.dtype, self.content)
        lines, affine = self._header()
        written = Written(path, array, affine, channels=2 if self.channels else 1)
        self._judge(written)
        stored = np.moveaxis(array, -1, 0) if self.channels == "first" else array
        content = self._encoded(stored)
        head, content = self._spoil(self.line_end.join([*lines, ""]), content, written)
        if self.data == "attached":
            path.write_bytes(head.encode() + self.line_end.encode() + content)
            return written
        path.write_bytes(head.encode())
        for name, piece in self._pieces(stored, content).items():
            (folder / name).parent.mkdir(exist_ok=True)
            if self.damage != "no data":
                (folder / name).write_bytes(piece)
        return written

    def _numbers(self, values: np.ndarray) -> list[str]:
        return [f"{value:.{self.digits}g}" for value in np.ravel(values)]

    def _header(self) -> tuple[list[str], np.ndarray]:
        grid, extra = self.grid, bool(self.channels)

        def along(words: list[str], other: str) -> str:
            return " ".join([other, *words] if self.channels == "first" else [*words, other] if extra else words)

        names = TYPES[self.dtype]
        lines = ["NRRD0005" if self.units else "NRRD0004"]
        if self.comment:
            lines += ["# Complete NRRD file format specification at:", "# http://teem.sourceforge.net/nrrd/format.html"]
        lines += [f"type: {names[self.alias % len(names)]}", f"dimension: {3 + extra}"]
        lines.append("sizes: " + along([str(length) for length in grid.shape], "2"))
        lines += [f"encoding: {self.encoding}", f"endian: {'big' if self.big_endian else 'little'}"]
        signs = np.array(SPACES.get(self.space, (-1.0, -1.0, 1.0)))
        columns = signs[:, None] * grid.direction * grid.spacing
        origin = signs * grid.origin
        if self.spacing == "directions":
            lines.append("space dimension: 3" if self.space == "3" else f"space: {self.space}")
            vectors = [f"({','.join(self._numbers(column))})" for column in columns.T]
            lines.append("space directions: " + along(vectors, "none"))
            if self.origin:
                lines.append(f"space origin: ({','.join(self._numbers(origin))})")
            if self.units:
                lines.append("space units: " + " ".join([f'"{self.units}"'] * 3))
        elif self.spacing == "spacings":
            lines.append("spacings: " + along(self._numbers(np.array(grid.spacing)), "nan"))
            columns, origin, signs = np.diag(grid.spacing), np.zeros(3), np.array([-1.0, -1.0, 1.0])
        elif self.spacing == "nan":
            lines.append("spacings: " + along(["nan"] * 3, "nan"))
        lines.append("kinds: " + along(["domain"] * 3, self.kind))
        if self.line_skip:
            lines.append(f"line skip: {self.line_skip}")
        if self.byte_skip:
            lines.append(f"byte skip: {self.byte_skip}")
        if self.comment:
            lines.append("operator:=a key of the user's")
        if self.data != "attached":
            lines.append("data file: " + self.data.format(grid.shape[2]))
        if self.data == "LIST":
            lines += [f"plane {k}.raw" for k in range(grid.shape[2])]

        def read(values: np.ndarray) -> np.ndarray:
            return np.array([float(word) for word in self._numbers(values)]).reshape(np.shape(values))

        affine = placed(read(columns), read(origin) if self.origin else np.zeros(3))
        mm = {"mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3}.get(
            self.units if self.spacing == "directions" else "mm", 1.0
        )
        return lines, np.diag([*(signs * mm), 1.0]) @ affine

    def _encoded(self, array: np.ndarray) -> bytes:
        if self.encoding in ("ascii", "text", "txt"):
            return " ".join(str(value) for value in array.ravel(order="F")).encode()
        content = array.tobytes("F")
        if self.encoding == "hex":
            return content.hex().encode()
        skipped = b"skip\n" * self.line_skip
        if self.encoding in ("gzip", "gz"):  # bytes are skipped within what is inflated, lines before
            return skipped + gzip.compress(b"s" * max(self.byte_skip, 0) + content, mtime=0)
        if self.encoding in ("bzip2", "bz2"):
            return skipped + bz2.compress(b"s" * max(self.byte_skip, 0) + content)
        return skipped + b"s" * (max(self.byte_skip, 0) if self.byte_skip >= 0 else 11) + content

    def _pieces(self, stored: np.ndarray, content: bytes) -> dict[str, bytes]:
        if not self.whole:
            k = self.grid.shape[2]
            names = [f"plane {n}.raw" if self.data == "LIST" else f"slice{n + 1:02d}.raw" for n in range(k)]
            axis = 3 if self.channels == "first" else 2
            return {name: self._encoded(stored.take([n], axis)) for n, name in enumerate(names)}
        return {self.data: content}

    def _judge(self, written: Written) -> None:
        """SimpleITK was built without bzip2, and takes the `%` of a single file for a pattern."""
        listed, stated = not self.whole, self.spacing == "directions"
        with np.errstate(over="ignore"):
            finite = bool(np.isfinite(written.values.astype(np.float32)).all())
        odd_units = stated and self.units not in (None, "mm")
        odd_encoding = self.encoding not in ("raw", "gzip", "gz", "ascii")
        skips = bool(self.line_skip or self.byte_skip)
        odd_list = listed and (self.channels == "last" or self.encoding != "raw" or skips)
        written.judge(
            refused={
                "no spacing": self.spacing in ("none", "nan"),
                "all voxels alike": self.content == "constant",
                "not finite in float32": not finite,
                "a space that some readers mirror": stated and self.space in MIRRORED,
            },
            doubtful={
                "a space that is not a patient's": stated and self.space in UNKNOWN_SPACES,
                "a place that is a default": self.spacing == "spacings" or not self.origin,
                "units other than mm": odd_units,
                "an encoding that few write": odd_encoding,
                "bytes to skip": skips,
                "planes that are encoded one by one": odd_list,
                "channels": bool(self.channels),
                "lines ended as in DOS": self.line_end != "\n",
            },
        )
        time_first = (
            self.channels == "first" and self.kind == "time"
        )  # which SimpleITK takes for the first of four axes
        mirrored = stated and self.space in MIRRORED
        if not (self.data == "leg 50%.raw" or odd_units or odd_encoding or odd_list or time_first or mirrored):
            written.witnesses = ("itk",)
        if self.digits < 9:
            written.slack_mm = 1e-3 * written.edge_mm

    def _spoil(self, head: str, content: bytes, written: Written) -> tuple[str, bytes]:
        damage, whole = self.damage, self.whole
        text = self.encoding in ("ascii", "text", "txt", "hex")
        if damage in ("cut short", "one byte short") and whole and not text and self.byte_skip >= 0:
            if self.encoding in ("raw", "bzip2", "bz2") or damage == "cut short":
                written.refused(damage)
            else:
                written.doubtful("a gzip stream whose last byte is missing")
            content = content[: len(content) // 2 if damage == "cut short" else -1]
        elif damage == "no data" and self.data != "attached":
            written.refused(damage)
        elif damage in ("no sizes", "type", "magic", "encoding", "words"):
            written.refused(damage)
            wrong = {"no sizes": ("sizes:", "size:"), "type": ("type: ", "type: in"), "magic": ("NRRD0", "NURD0")}
            wrong |= {"encoding": ("encoding: ", "encoding: x"), "words": ("sizes: ", "sizes: five ")}
            head = head.replace(*wrong[damage], 1)
        elif damage == "stream" and self.encoding in ("gzip", "gz") and whole:
            written.refused(damage)
            place = len(content) - 6  # the checksum
            content = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
        return head, content


def _fitting(scan: Nrrd) -> Nrrd:
    changes: dict = {"content": content_for(scan.dtype, scan.content)}
    if scan.encoding in ("ascii", "text", "txt", "hex"):
        changes |= {"line_skip": 0, "byte_skip": 0, "content": "distinct"}
        if not scan.whole:
            changes["data"] = "scan.raw"
    if scan.byte_skip < 0 and scan.encoding != "raw":
        changes["byte_skip"] = 0
    return Nrrd(**{**scan.__dict__, **changes})


nrrds = st.builds(
    Nrrd,
    grid=grids,
    dtype=st.sampled_from(list(TYPES)),
    alias=st.integers(0, 3),
    content=contents,
    name=st.sampled_from(["scan", "scan", "leg 50%", "leg %d", "Bein-Überblick", "a;b#c", "x.y"]),
    data=st.sampled_from((*FILES[:1] * 4, *FILES)),
    encoding=st.sampled_from(["raw", "raw", "raw", "gzip", "gzip", "gz", "ascii", "text", "bzip2", "hex"]),
    big_endian=st.booleans(),
    spacing=st.sampled_from(["directions"] * 6 + ["spacings", "none", "nan"]),
    space=st.sampled_from([*SPACES, *SPACES, *UNKNOWN_SPACES]),
    origin=rarely(False, default=True),
    units=rarely("mm", "cm", "m", "um", "furlong"),
    channels=rarely("first", "last", default=""),
    kind=st.sampled_from(["vector", "list", "time", "RGB-color"]),
    line_skip=rarely(2, default=0),
    byte_skip=rarely(7, -1, default=0),
    comment=st.booleans(),
    line_end=rarely("\r\n", default="\n"),
    digits=st.sampled_from([17, 9, 6]),
    damage=rarely(*DAMAGE),
).map(_fitting)
