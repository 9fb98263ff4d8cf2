"""NIfTI-1 and -2 as they are found: the header is laid field by field, for libraries write what is tidy."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from drawn import (
    EITHER,
    PLAIN,
    READ,
    REFUSED,
    Description,
    Grid,
    Written,
    content_for,
    contents,
    grids,
    placed,
    rarely,
    voxels,
)
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
FORMS = ("both", "sform", "qform", "neither", "disagreeing", "zero rows", "long quaternion", "no quaternion")


@dataclass(frozen=True, repr=False)
class Nifti(Description):
    """One NIfTI file; `tail` are the axes behind the third, `scale` the header's slope and intercept."""

    grid: Grid = PLAIN
    version: int = 1
    packed: bool = False
    big_endian: bool = False
    dtype: str = "i2"
    content: str = "distinct"
    forms: str = "both"
    codes: tuple[int, int] = (1, 1)
    shear: tuple[float, ...] = (0.0, 0.0, 0.0)
    unit: int = 2
    scale: tuple[float, float] | None = None
    tail: tuple[int, ...] = ()
    gap: int = 0
    extension: bool = False
    pixdim: float | None = None
    damage: str | None = None

    def write(self, folder: Path) -> Written:
        path = folder / ("scan.nii.gz" if self.packed else "scan.nii")
        order = ">" if self.big_endian else "<"
        shape = (*self.grid.shape, *self.tail)
        array = self._array(shape, order)
        header = (nib.Nifti1Header if self.version == 1 else nib.Nifti2Header)(endianness=order)
        header.set_data_dtype(array.dtype)
        header["dim"][: len(shape) + 1] = (len(shape), *shape)
        header["xyzt_units"] = self.unit | 8
        affine, slack = self._place(header)
        behind = self._behind()
        size = 348 if self.version == 1 else 540
        header["vox_offset"] = size + len(behind)
        header["magic"] = b"n+1" if self.version == 1 else b"n+2"
        if self.scale is not None:
            header["scl_slope"], header["scl_inter"] = self.scale
        content = header.binaryblock + behind + array.tobytes("F")

        affine = np.diag([MM.get(self.unit, 1.0)] * 3 + [1.0]) @ affine
        written = Written(path, self._meaning(array), affine)
        written.slack_mm = slack * MM.get(self.unit, 1.0)
        written.witnesses = self._witnesses(written)
        self._judge(written, array)
        path.write_bytes(self._spoil(content, size, written))
        return written

    def _array(self, shape: tuple[int, ...], order: str) -> np.ndarray:
        if self.dtype == "rgb":
            return np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        if self.dtype == "complex":
            return (voxels(shape, "f4") * 1j).astype(order + "c8")
        return voxels(shape, order + self.dtype, self.content)

    def _place(self, header: nib.Nifti1Header) -> tuple[np.ndarray, float]:
        """Lay spacing, sform and qform; return what the written float32 numbers mean, and how exact that is."""
        sform = placed(self._skew() * self.grid.spacing, self.grid.origin)
        header["pixdim"][1:4] = np.linalg.norm(sform[:3, :3], axis=0)
        number = header["srow_x"].dtype
        if self.forms in ("both", "sform", "disagreeing", "no quaternion"):
            header["sform_code"] = self.codes[0]
            for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
                header[name] = sform[row]
        read_sform = np.vstack([header[name] for name in ("srow_x", "srow_y", "srow_z")]).astype(float)
        if self.forms == "zero rows":
            header["sform_code"] = self.codes[0]
        handed = round(np.linalg.det(self.grid.direction))
        header["pixdim"][0] = handed
        if self.forms not in ("sform", "neither"):
            header["qform_code"] = self.codes[1]
            x, y, z, w = Rotation.from_matrix(self.grid.direction * (1, 1, handed)).as_quat()
            b, c, d = np.array([x, y, z]) * (-1 if w < 0 else 1)
            if self.forms == "long quaternion":  # of half a turn, written with six digits
                b, c, d = (
                    np.array([b, c, d] if any((b, c, d)) else [0, 0, 1])
                    * 1.0000013
                    / (np.hypot(np.hypot(b, c), d) or 1)
                )
            elif self.forms == "no quaternion":
                b, c, d = 1.0, 1.0, 1.0
            header["quatern_b"], header["quatern_c"], header["quatern_d"] = b, c, d
            away = 40 if self.forms == "disagreeing" else 0
            for name, mm in zip("xyz", self.grid.origin, strict=True):
                header[f"qoffset_{name}"] = mm + away
        if self.pixdim is not None:
            header["pixdim"][2] = self.pixdim
        if header["sform_code"] > 0 and self.forms != "zero rows":
            return np.vstack([read_sform, [0, 0, 0, 1]]), 0.0
        if header["qform_code"] > 0:
            return self._of_quaternion(header), 1e-3 * min(self.grid.spacing)
        # neither: nibabel's convention, the grid centred and i to the left (SimpleITK has another one)
        spacing = np.abs(header["pixdim"][1:4].astype(number).astype(float)) * (-1, 1, 1)
        return placed(np.diag(spacing), -spacing * (np.array(self.grid.shape) - 1) / 2), 0.0

    @staticmethod
    def _of_quaternion(header: nib.Nifti1Header) -> np.ndarray:
        """nifti1.h: a quaternion of length one whose first part is not negative; k is turned where qfac is."""
        b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
        square = 1 - b * b - c * c - d * d
        a = np.sqrt(square) if square > 3 * np.finfo(np.float32).eps else 0.0  # float32 holds no more, says nibabel
        turned = Rotation.from_quat([b, c, d, a]).as_matrix()
        factor = -1 if header["pixdim"][0] < 0 else 1
        spacing = np.abs(header["pixdim"][1:4].astype(float)) * (1, 1, factor)
        return placed(turned * spacing, [float(header[f"qoffset_{name}"]) for name in "xyz"])

    def _behind(self) -> bytes:
        """What lies between header and voxels."""
        if not self.extension:
            return bytes(4) + b"\xff" * self.gap
        order = "big" if self.big_endian else "little"
        note = (32).to_bytes(4, order) + (6).to_bytes(4, order) + b"a note, 24 bytes long..."
        return b"\1\0\0\0" + note + bytes(self.gap)

    def _meaning(self, array: np.ndarray) -> np.ndarray:
        kept = (*self.grid.shape, *(length for length in self.tail if length != 1))
        return array.reshape(kept, order="F")

    def _scales(self) -> bool:
        """NIfTI: a slope of 0 means that nothing is scaled; libraries take one that is no number so too."""
        return self.scale is not None and np.isfinite(self.scale[0]) and self.scale[0] != 0 and self.scale != (1, 0)

    def _witnesses(self, written: Written) -> tuple[str, ...]:
        """SimpleITK has another convention without forms or where they disagree, and refuses shears."""
        itk = self.version == 1 and self.forms in ("both", "sform", "qform") and self.unit in MM
        itk = itk and not any(self.shear) and not self.tail and self.pixdim is None and self.dtype != "rgb"
        nib = self.forms not in ("long quaternion", "zero rows") and self.dtype not in ("rgb", "complex")
        return ("nib",) * nib + ("itk",) * itk

    def _judge(self, written: Written, array: np.ndarray) -> None:
        if self._scales() and array.dtype.kind in "iuf":
            slope, inter = (float(np.float32(n)) if self.version == 1 else float(n) for n in self.scale)  # type: ignore[union-attr]
            written.values = written.values.astype(np.float64) * slope + inter
            sizes = np.abs(array.astype(np.float64)).max() * abs(slope), abs(inter)
            written.grain, written.scaled = float(sum(sizes)) * 2.0**-22, True
        more = [length for length in self.tail if length != 1]
        written.channels = int(np.prod(more))
        number = written.values.dtype.kind in "iuf"
        flat = self._skew() / np.linalg.norm(self._skew(), axis=0)
        spacing = self.pixdim is None or self.pixdim > 0
        spans = np.isfinite(written.affine).all() and np.linalg.det(written.affine[:3, :3]) != 0
        with np.errstate(over="ignore"):
            finite = number and bool(np.isfinite(written.values.astype(np.float64).astype(np.float32)).all())
        written.judge(
            refused={
                "five axes": len(more) > 1,
                "no real numbers": not number,
                "all voxels alike": self.content == "constant",
                "not finite in float32": number and not finite,
                "axes that span no space": not spans,
                "no spacing": self.forms == "neither" and not spacing,
            },
            doubtful={
                "a scale that is no number": self.scale is not None and not np.isfinite(self.scale).all(),
                "an unknown unit": self.unit not in MM,
                "an sform of zeros": self.forms == "zero rows",
                "sform and qform disagree": self.forms == "disagreeing" or (self.forms == "both" and any(self.shear)),
                "a quaternion that is no rotation, beside an sform": self.forms == "no quaternion",
                "a spacing that is none, beside an sform": not spacing,
                "axes that hardly span space": abs(np.linalg.det(flat)) < 1e-3,
            },
        )

    def _skew(self) -> np.ndarray:
        """Directions of i, j, k, sheared, as columns."""
        return self.grid.direction @ (np.eye(3) + np.triu(np.ones((3, 3)), 1) * self.shear)

    def _spoil(self, content: bytes, size: int, written: Written) -> bytes:
        verdict, spoil = (DAMAGE | (PACKED if self.packed else UNPACKED)).get(str(self.damage), (READ, None))
        written.judge({str(self.damage): verdict == REFUSED}, {str(self.damage): verdict == EITHER})
        if self.damage in DAMAGE and spoil is not None:
            content = spoil(content, size)
        packed = gzip.compress(content, mtime=0) if self.packed else content
        return packed if self.damage in DAMAGE or spoil is None else spoil(packed, size)


def put(place_1: int, place_2: int, piece: bytes) -> Callable[[bytes, int], bytes]:
    """Return what lays a piece over a header of NIfTI-1, or of NIfTI-2, at its place."""

    def spoil(content: bytes, size: int) -> bytes:
        place = place_1 if size == 348 else place_2
        return content[:place] + piece + content[place + len(piece) :]

    return spoil


DAMAGE = {
    "cut short": (REFUSED, lambda content, size: content[: (size + len(content)) // 2]),
    "one byte short": (REFUSED, lambda content, _: content[:-1]),
    "half a header": (REFUSED, lambda content, size: content[: size // 2]),
    "no header": (REFUSED, lambda *_: b""),
    "magic": (REFUSED, put(344, 4, b"n-1\0")),
    "type": (REFUSED, put(70, 12, b"\7\7")),
    "lengths": (REFUSED, put(42, 24, b"\xff" * 8)),
    "endian": (REFUSED, lambda content, size: content[:size][::-1] + content[size:]),
    "bytes behind": (READ, lambda content, _: content + b"what a tool left behind"),
}
UNPACKED = {"gzipped": (EITHER, lambda content, _: gzip.compress(content))}
PACKED = {
    "not gzip": (EITHER, lambda packed, _: gzip.decompress(packed)),
    "checksum": (REFUSED, lambda packed, _: packed[:-6] + bytes(byte ^ 255 for byte in packed[-6:-4]) + packed[-4:]),
    "gzip cut short": (REFUSED, lambda packed, _: packed[: len(packed) * 2 // 3]),
    "garbage behind": (EITHER, lambda packed, _: packed + b"garbage"),
    "zeros behind": (READ, lambda packed, _: packed + bytes(512)),
    "two members": (READ, lambda packed, _: packed + gzip.compress(b"", mtime=0)),
}


def _fitting(scan: Nifti) -> Nifti:
    """Draws whose parts do not go together lose what they cannot have."""
    changes: dict = {"content": content_for(scan.dtype, scan.content)}
    if scan.damage in (UNPACKED if scan.packed else PACKED):
        changes["damage"] = None
    if scan.extension:
        changes["gap"] = 0  # extensions fill all that lies before the voxels
    if scan.forms in ("qform", "neither", "zero rows", "long quaternion") and any(scan.shear):
        changes["shear"] = (0.0, 0.0, 0.0)
    return Nifti(**{**scan.__dict__, **changes})


niftis = st.builds(
    Nifti,
    grid=grids,
    version=st.sampled_from([1, 2]),
    packed=st.booleans(),
    big_endian=st.booleans(),
    dtype=st.one_of(st.sampled_from(TYPES), rarely("rgb", "complex", default="u1")),
    content=contents,
    forms=st.sampled_from(FORMS[:5] + FORMS[:3] + FORMS),
    codes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shear=rarely((0.3, 0.0, 0.0), (0.0, 0.1, -0.4), (1e-4, 0.0, 0.0), default=(0.0, 0.0, 0.0)),
    unit=st.sampled_from([2, 2, 2, 0, 1, 3, 3, 6]),
    scale=rarely(
        *[(0.5, -1024.0), (-2.0, 0.0), (0.0, 0.0), (float("nan"), float("nan")), (1.0, 0.0), (1e-6, 3.0), (1.0, 5.0)],
        *[(float("nan"), 0.0), (3.0, float("inf")), (1e30, 0.0)],
    ),
    tail=rarely((1,), (1, 1), (2,), (3,), (1, 2), (1, 1, 3), (2, 2), default=()),
    gap=rarely(16, 3, 1648, default=0),
    extension=st.booleans(),
    pixdim=rarely(0.0, -1.0, float("nan")),
    damage=rarely(*DAMAGE, *PACKED, *UNPACKED),
).map(_fitting)
