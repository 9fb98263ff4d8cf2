"""MetaImage (.mha, .mhd) as it is found: headers are text, and written here word by word."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawn import LPS, PLAIN, Description, Grid, Written, content_for, contents, grids, placed, rarely, voxels
from hypothesis import strategies as st

TYPES = {
    **{"u1": "MET_UCHAR", "i1": "MET_CHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "u4": "MET_UINT"},
    **{"i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE"},
}
WHERE = ("LOCAL", "Local", "scan.raw", "voxels/other name.raw", "leg 50%.raw", "leg %d.raw", "leg 50%MVC.raw")
STRANGE = ("Bein-Überblick.raw", "a;b#c.raw", "LIST", "LIST 2D", "slice%03d.raw 1 {} 1", "p%d.raw 0 {} 2", "LISTE.raw")
DAMAGE = (
    "cut short",
    "one byte short",
    "no data",
    "no DimSize",
    "type",
    "bytes behind",
    "stream",
    "stream end",
    "words",
)


@dataclass(frozen=True, repr=False)
class MetaImage(Description):
    """One MetaImage; `digits` are those of the numbers in its header, `data` the value of ElementDataFile."""

    grid: Grid = PLAIN
    dtype: str = "i2"
    content: str = "distinct"
    name: str = "scan"
    data: str = "LOCAL"
    compressed: bool = False
    packed_size: bool = True
    big_endian: str = "BinaryDataByteOrderMSB = False"
    spacing: str = "ElementSpacing"
    origin: str = "Offset"
    matrix: str = "TransformMatrix"
    anatomy: str | None = None
    channels: int = 1
    axes: int = 3
    header_size: int | None = None
    text: bool = False
    digits: int = 17
    line_end: str = "\n"
    extra: str = ""
    damage: str | None = None

    @property
    def order(self) -> str:
        return ">" if self.big_endian.lower().endswith("true") else "<"

    @property
    def local(self) -> bool:
        return self.data.upper() == "LOCAL"

    @property
    def one_file(self) -> bool:
        return not (self.data.startswith(("LIST", "slice", "p%")) and self.data != "LISTE.raw")

    def write(self, folder: Path) -> Written:
        path = folder / (self.name + (".mha" if self.local else ".mhd"))
        shape = self.grid.shape
        array = voxels((*shape, self.channels), self.order + self.dtype, self.content)
        lines, affine = self._header(array)
        content = self._content(array)
        written = Written(path, array if self.channels > 1 else array[..., 0], affine, channels=self.channels)
        self._judge(written)
        head, content = self._spoil(self.line_end.join(lines).encode() + self.line_end.encode(), content, written)
        if self.local:
            path.write_bytes(head + content)
        else:
            path.write_bytes(head)
            self._write_beside(folder, content, array)
        return written

    def _numbers(self, values: np.ndarray) -> str:
        return " ".join(f"{value:.{self.digits}g}" for value in np.ravel(values))

    def _header(self, array: np.ndarray) -> tuple[list[str], np.ndarray]:
        grid = self.grid
        lps = (LPS[:3, :3] @ grid.direction, LPS[:3, :3] @ grid.origin)
        four = self.axes == 4
        matrix, origin, spacing, size = lps[0], lps[1], np.array(grid.spacing), list(grid.shape)
        if four:
            matrix = np.pad(matrix, (0, 1))
            matrix[3, 3] = 1
            origin, spacing, size = np.append(origin, 0), np.append(spacing, 1), [*size, 1]
        lines = ["ObjectType = Image", f"NDims = {self.axes}"]
        lines += [f"BinaryData = {not self.text}", self.big_endian]
        lines.append(f"CompressedData = {self.compressed}")
        if self.compressed and self.packed_size and self.one_file:
            lines.append(f"CompressedDataSize = {len(self._content(array))}")
        if self.matrix:
            lines.append(f"{self.matrix} = {self._numbers(matrix.T)}")
        if self.origin:
            lines.append(f"{self.origin} = {self._numbers(origin)}")
        if self.matrix and self.origin:
            lines.append("CenterOfRotation = " + " ".join("0" * self.axes))
        if self.anatomy:
            lines.append(f"AnatomicalOrientation = {self.anatomy}")
        if self.spacing:
            lines.append(f"{self.spacing} = {self._numbers(spacing)}")
        if self.extra:
            lines.append(self.extra)
        if self.header_size is not None:
            lines.append(f"HeaderSize = {self.header_size}")
        if self.channels > 1:
            lines.append(f"ElementNumberOfChannels = {self.channels}")
        lines.append(f"DimSize = {' '.join(map(str, size))}")
        lines.append(f"ElementType = {TYPES[self.dtype]}")
        files = self.data.format(self._last())
        lines.append(f"ElementDataFile = {files}")
        if files.startswith("LIST") and files != "LISTE.raw":
            lines += self._names()

        def read(values: np.ndarray) -> np.ndarray:
            return np.array([float(word) for word in self._numbers(values).split()]).reshape(np.shape(values))

        columns = read(lps[0]) if self.matrix else np.eye(3)
        spacing_read = read(np.array(grid.spacing)) if self.spacing else np.ones(3)
        return lines, LPS @ placed(columns * spacing_read, read(lps[1]) if self.origin else np.zeros(3))

    def _last(self) -> int:
        k = self.grid.shape[2]
        return 2 * (k - 1) if self.data.startswith("p%") else k

    def _names(self) -> list[str]:
        k = self.grid.shape[2]
        if self.data.startswith("slice"):
            return [f"slice{n:03d}.raw" for n in range(1, k + 1)]
        if self.data.startswith("p%"):
            return [f"p{2 * n}.raw" for n in range(k)]
        return [f"plane {n}.raw" for n in range(k)]

    def _content(self, array: np.ndarray) -> bytes:
        voxel_by_voxel = np.moveaxis(array, -1, 0)  # the channels of a voxel lie side by side
        if self.text:
            return " ".join(str(value) for value in voxel_by_voxel.ravel(order="F")).encode()
        content = voxel_by_voxel.tobytes("F")
        return zlib.compress(content) if self.compressed and self.one_file else content

    def _write_beside(self, folder: Path, content: bytes, array: np.ndarray) -> None:
        if self.one_file:
            (folder / self.data).parent.mkdir(exist_ok=True)
            if self.damage != "no data":
                (folder / self.data).write_bytes(b"h" * max(self.header_size or 0, 0) + content)
            return
        for k, name in enumerate(self._names()):
            if not (self.damage == "no data" and k == array.shape[2] - 1):
                plane = np.moveaxis(array[:, :, k], -1, 0).tobytes("F")
                (folder / name).write_bytes(zlib.compress(plane) if self.compressed else plane)

    def _judge(self, written: Written) -> None:
        """SimpleITK takes a `%` in a name for a pattern, and what follows a header wrongly without its packed size."""
        unsized = self.compressed and not (self.packed_size and self.one_file)
        if (
            self.data not in WHERE[4:]
            and self.data != "LISTE.raw"
            and not unsized
            and (self.axes == 3 or self.one_file)
        ):
            written.witnesses = ("itk",)
        with np.errstate(over="ignore"):
            finite = bool(np.isfinite(written.values.astype(np.float32)).all())
        written.judge(
            refused={
                "no spacing": not self.spacing,
                "all voxels alike": self.content == "constant",
                "not finite in float32": not finite,
            },
            doubtful={
                "a name that MetaIO takes for a list": self.data == "LISTE.raw",
                "a place or a direction that is a default": not self.matrix or not self.origin or bool(self.anatomy),
                "a key that is read one way or the other": self.spacing == "ElementSize" or bool(self.extra),
                "planes compressed one by one": self.compressed and not self.one_file,
                "compressed behind a header": self.compressed and bool(self.header_size),
                "an old form": self.text or bool(self.header_size) or self.line_end != "\n",
                "an old key": self.big_endian.startswith("ElementByteOrder") or self.data.endswith("2D"),
                "channels, or a fourth axis, in files of planes": self.channels + self.axes > 4 and not self.one_file,
            },
        )
        if self.digits < 9:
            written.slack_mm = 1e-3 * written.edge_mm

    def _spoil(self, head: bytes, content: bytes, written: Written) -> tuple[bytes, bytes]:
        damage, whole = self.damage, self.one_file
        if damage in ("cut short", "one byte short") and whole and not self.text:
            written.refused(damage)
            content = content[: len(content) // 2 if damage == "cut short" else -1]
        elif damage == "no data" and not self.local:
            written.refused(damage)
        elif damage == "no DimSize":
            written.refused(damage)
            head = head.replace(b"DimSize", b"DimSizes")
        elif damage == "type":
            written.refused(damage)
            head = head.replace(b"ElementType = MET_", b"ElementType = MAT_")
        elif damage == "words":
            written.refused(damage)
            head = head.replace(b"DimSize = ", b"DimSize = five ")
        elif damage == "bytes behind" and whole and not self.text:
            written.doubtful(damage)
            content += b"behind"
        elif damage in ("stream", "stream end") and self.compressed and whole and not self.text:
            written.refused(damage)
            place = len(content) // 2 if damage == "stream" else len(content) - 2
            content = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
        return head, content


def _fitting(scan: MetaImage) -> MetaImage:
    changes: dict = {"content": content_for(scan.dtype, scan.content)}
    if scan.spacing != "ElementSpacing" and "ElementSize" in scan.extra:
        changes["extra"] = ""
    if scan.header_size == -1 and scan.damage == "bytes behind":
        changes["damage"] = None  # -1: the voxels are the file's last bytes
    if scan.text:
        changes |= {"compressed": False, "channels": 1, "content": "distinct", "header_size": None}
        if not scan.one_file:
            changes["data"] = "LOCAL"
    if scan.local or not scan.one_file:
        changes["header_size"] = None
    return MetaImage(**{**scan.__dict__, **changes})


metaimages = st.builds(
    MetaImage,
    grid=grids,
    dtype=st.sampled_from(list(TYPES)),
    content=contents,
    name=st.sampled_from(["scan", "scan", "leg 50%", "50%MVC", "leg %d", "Bein-Überblick", "a;b#c", "x.y", "LIST"]),
    data=st.one_of(st.sampled_from(WHERE), st.sampled_from(STRANGE)),
    compressed=st.booleans(),
    packed_size=st.booleans(),
    big_endian=st.one_of(
        st.sampled_from(["BinaryDataByteOrderMSB = False", "BinaryDataByteOrderMSB = True"]),
        rarely("ElementByteOrderMSB = False", "ElementByteOrderMSB = True", default="BinaryDataByteOrderMSB = False"),
    ),
    spacing=rarely("", "ElementSize", "", default="ElementSpacing"),
    origin=st.one_of(st.sampled_from(["Offset", "Position", "Origin"]), rarely("", default="Offset")),
    matrix=st.one_of(
        st.sampled_from(["TransformMatrix", "Rotation", "Orientation"]), rarely("", default="TransformMatrix")
    ),
    anatomy=rarely("RAI", "LPS", "ASL", "???"),
    channels=rarely(2, 3, default=1),
    axes=rarely(4, default=3),
    header_size=rarely(0, 64, -1),
    text=rarely(True, default=False),
    digits=st.sampled_from([17, 9, 6]),
    line_end=rarely("\r\n", default="\n"),
    extra=rarely(
        "Comment = made by hand",
        "Modality = MET_MOD_CT",
        "ElementMin = 0",
        "ElementSize = 9 9 9",
        "Name = x",
        default="",
    ),
    damage=rarely(*DAMAGE),
).map(_fitting)
