"""What DICOM files of slices and of frames share: tags, pixels, rescale; written by pydicom, tag by tag."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from drawn import LPS, Grid, Written, placed, rarely, voxels
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

UID = "1.2.826.0.1.3680043.8.498.7"
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
}
CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "SR": "1.2.840.10008.5.1.4.1.1.88.67",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "enhanced CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "enhanced PT": "1.2.840.10008.5.1.4.1.1.130",
    "legacy CT": "1.2.840.10008.5.1.4.1.1.2.2",
    "US": "1.2.840.10008.5.1.4.1.1.6.2",
    "cine": "1.2.840.10008.5.1.4.1.1.3.1",
}
STORED = {"i2": (16, 16, 1), "u2": (16, 16, 0), "u1": (8, 8, 0), "12 bits": (16, 12, 0), "12 bits signed": (16, 12, 1)}


def decimal(number: float) -> str:
    """DICOM's decimal string: 16 characters at most."""
    return f"{number:.10g}"


def as_written(numbers: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda number: float(decimal(number)))(numbers)


def head(kind: str, syntax: str, number: int, series: str = "1") -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CLASSES[kind], SYNTAXES[syntax]
    meta.MediaStorageSOPInstanceUID = f"{UID}.2.{series}.{number + 1}"
    encoding = {"is_implicit_VR": syntax == "implicit", "is_little_endian": syntax != "big endian"}
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, **encoding)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.FrameOfReferenceUID = f"{UID}.9", f"{UID}.8"
    data.SeriesInstanceUID = f"{UID}.1.{series}"
    data.PatientName, data.PatientID, data.SeriesNumber = "Phantom^A", "p", 1
    data.Modality = kind.rsplit(maxsplit=1)[-1] if kind != "cine" else "US"
    return data


def lay_pixels(data: FileDataset, planes: np.ndarray, stored: str, syntax: str, colour: bool = False) -> None:
    """Lay `(i, j)` or `(i, j, frames)` down row by row; the number of values a pixel is one, or three for `colour`."""
    array = np.ascontiguousarray(planes.T)
    data.Rows, data.Columns = array.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.PixelRepresentation = STORED[stored]
    data.HighBit = data.BitsStored - 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    if colour:
        array = np.stack([array] * 3, axis=-1)
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    array = array & (2**data.BitsStored - 1) if stored.startswith("12") else array
    width = data.BitsAllocated // 8
    order = ">" if syntax == "big endian" else "<"
    content = array.astype(f"{order}{'i' if data.PixelRepresentation else 'u'}{width}").tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    data["PixelData"].VR = "OB" if width == 1 else "OW"


def save(data: FileDataset, path: Path, preamble: bool = True) -> Path:
    if data.file_meta.TransferSyntaxUID == RLELossless and "PixelData" in data:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    data.save_as(path, enforce_file_format=True)
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    return path


def stored_voxels(shape: tuple[int, ...], stored: str, content: str) -> np.ndarray:
    """As `voxels`, for the bits that are stored."""
    if not stored.startswith("12"):
        return voxels(shape, stored, content)
    array = voxels(shape, "i2" if stored.endswith("signed") else "u2")
    if content == "extreme":
        array.flat[0], array.flat[-1] = (-2048, 2047) if stored.endswith("signed") else (0, 4095)
    return array


@dataclass(frozen=True)
class Slices:
    """Where slices lie, as DICOM has it: in LPS mm, in decimals; `affine` is that of the even stack that they make."""

    cosines: np.ndarray
    spacing: np.ndarray
    step: np.ndarray
    places: np.ndarray
    affine: np.ndarray


def slices_of(grid: Grid, fault: str | None) -> Slices:
    k, columns = grid.shape[2], LPS[:3, :3] @ grid.direction
    cosines, spacing = as_written(columns[:, :2].T), as_written(np.array(grid.spacing[:2]))
    step = columns[:, 2] * grid.spacing[2]
    tilt = columns[:, 1] * grid.spacing[2] * 0.25 if fault == "tilt" else 0
    places = as_written(LPS[:3, :3] @ grid.origin + np.arange(k)[:, None] * (step + tilt))
    if fault == "uneven":
        places[-1] += step
    elif fault == "jitter":
        places[k // 2] = as_written(places[k // 2] + 0.02 * step)
    affine = placed(np.column_stack([*(cosines * spacing[:, None]), step]), places[0])
    if k > 1:
        affine[:3, 2] = (places[-1] - places[0]) / (k - 1)
    return Slices(cosines, spacing, step, places, affine)


def cut_short(file: Path, syntax: str) -> None:
    """Take away the last pixels; those of RLE lie before a delimiter of 8 bytes."""
    file.write_bytes(file.read_bytes()[: -12 if syntax == "RLE" else -4])


def rescale(kind: str, planes: int) -> tuple[list[float], list[float]]:
    """Slopes and intercepts of the planes."""
    k = np.arange(planes)
    slopes = {
        "halved": k * 0 + 0.5,
        "by plane": 0.1 + k / 8,
        "first alone": np.where(k == 0, 1, 0.4567),
        "wide": k * 0 + 9.0,
    }
    inters = {"CT": k * 0 - 1024, "by plane": -k, "inter by plane": np.where(k == 0, 0, -1024), "large": k * 0 + 99999}
    inters["half"] = k * 0 + 0.5
    return slopes.get(kind, k * 0 + 1.0).tolist(), inters.get(kind, k * 0).astype(float).tolist()


def scaled(written: Written, kind: str) -> None:
    """The values that the file means, plane by plane."""
    slopes, inters = rescale(kind, written.values.shape[2])
    stored = written.values
    values = stored.astype(np.float64) * slopes + inters
    whole = (values == values.round()).all()
    written.values = values.astype(np.int64) if whole else values
    written.grain = 0.0 if whole else float(np.abs(values).max() + 1) * 2.0**-22
    written.any_type = True


RESCALES = ("none", "CT", "halved", "by plane", "first alone", "inter by plane", "large", "wide", "half")


def fitting(scan: Any) -> Any:
    """One slice, or frame, cannot have what lies between two."""
    if scan.fault == "colour" and scan.syntax == "RLE":  # pydicom packs no colours of 16 bits
        return replace(scan, syntax="explicit")
    alone = (
        "gap",
        "doubled",
        "twice",
        "two echoes",
        "two series",
        "tilt",
        "uneven",
        "two spacings",
        "two orientations",
    )
    if scan.fault in alone and scan.grid.shape[2] == 1:
        return replace(scan, fault=None)
    return scan


STORES = st.sampled_from(["i2", "i2", "u2", "u1", "12 bits", "12 bits signed"])
CONTENTS = rarely("extreme", "extreme", default="distinct")
