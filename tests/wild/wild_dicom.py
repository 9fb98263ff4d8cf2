"""DICOM as it is found: series of files, and many frames in one file; written by pydicom, tag by tag."""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from drawn import LPS, PLAIN, Description, Grid, Written, grids, placed, rarely, voxels
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
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
OBJECTS = ("RTSTRUCT", "SR", "PR", "KO")
BESIDE = ("notes.txt", ".DS_Store", "Thumbs.db", "DICOMDIR", "folder", "copy.dcm~")
SERIES_FAULTS = (
    *("gap", "tilt", "uneven", "jitter", "two series", "twice", "two echoes", "another size", "another orientation"),
    *("another spacing", "cut short", "no pixels", "no position", "no orientation", "no spacing", "colour"),
)
FRAME_FAULTS = (
    *(
        "gap",
        "uneven",
        "jitter",
        "doubled",
        "two echoes",
        "two orientations",
        "tilt",
        "no positions",
        "no spacing",
        "cine",
    ),
    *("no orientation", "cut short", "colour", "two spacings"),
)


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


RESCALES = ("none", "CT", "halved", "by plane", "first alone", "inter by plane", "large", "wide", "half")


def scaled(written: Written, kind: str) -> None:
    """The values that the file means, plane by plane."""
    slopes, inters = rescale(kind, written.values.shape[2])
    stored = written.values
    values = stored.astype(np.float64) * slopes + inters
    whole = (values == values.round()).all()
    written.values = values.astype(np.int64) if whole else values
    written.grain = 0.0 if whole else float(np.abs(values).max() + 1) * 2.0**-22
    written.any_type = True


@dataclass(frozen=True, repr=False)
class Series(Description):
    """A folder with a file for each slice."""

    grid: Grid = PLAIN
    kind: str = "CT"
    stored: str = "i2"
    content: str = "distinct"
    rescaled: str = "none"
    names: str = "ascending"
    numbers: str = "ascending"
    syntax: str = "explicit"
    preamble: bool = True
    inverse: bool = False
    thickness: float | None = 5.0
    beside: str = ""
    fault: str | None = None

    def write(self, folder: Path) -> Written:
        path = folder / "series"
        path.mkdir()
        k = self.grid.shape[2]
        array = stored_voxels(self.grid.shape, self.stored, self.content)
        columns = LPS[:3, :3] @ self.grid.direction
        cosines, spacing = as_written(columns[:, :2].T), as_written(np.array(self.grid.spacing[:2]))
        step = columns[:, 2] * self.grid.spacing[2]
        places = as_written(LPS[:3, :3] @ self.grid.origin + np.arange(k)[:, None] * self._moved(step, columns))
        self._fault_places(places, step)
        affine = placed(np.column_stack([*(cosines * spacing[:, None]), step]), places[0])
        if k > 1:
            affine[:3, 2] = (places[-1] - places[0]) / (k - 1)
        written = Written(path, array, LPS @ affine)
        scaled(written, self.rescaled)
        slopes, inters = rescale(self.rescaled, k)
        names = self._names(k)
        numbers = {"from 100": np.arange(k) + 100, "descending": k - np.arange(k), "alike": np.ones(k)}
        for n in range(k):
            if self.fault == "gap" and n == k // 2:
                continue
            data = head(self.kind, self.syntax, n)
            self._lay_slice(data, array[:, :, n], places[n], cosines, spacing)
            if self.numbers != "absent":
                data.InstanceNumber = int(numbers.get(self.numbers, np.arange(k) + 1)[n])
            if self.rescaled != "none":
                data.RescaleSlope, data.RescaleIntercept = decimal(slopes[n]), decimal(inters[n])
            self._fault_slice(data, array, n, path)
            file = save(data, path / names[n], self.preamble)
            if self.fault == "cut short" and n == k // 2:
                file.write_bytes(
                    file.read_bytes()[: -12 if self.syntax == "RLE" else -4]
                )  # RLE: behind a delimiter of 8
            if self.fault == "twice" and n == k // 2:
                (path / "again.dcm").write_bytes(file.read_bytes())
        self._lay_beside(path, array)
        self._judge(written, step)
        return written

    def _moved(self, step: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return step + columns[:, 1] * self.grid.spacing[2] * 0.25 if self.fault == "tilt" else step

    def _fault_places(self, places: np.ndarray, step: np.ndarray) -> None:
        k = len(places)
        if self.fault == "uneven":
            places[-1] += step
        if self.fault == "jitter":
            places[k // 2] = as_written(places[k // 2] + 0.02 * step)

    def _names(self, k: int) -> list[str]:
        order = np.arange(k)
        if self.names == "descending":
            order = order[::-1]
        elif self.names == "shuffled":
            order = np.random.default_rng(0).permutation(k)
        return [f"{n:05d}" if self.names == "bare" else f"IM {n}.DCM" for n in order]

    def _lay_slice(
        self, data: FileDataset, plane: np.ndarray, place: np.ndarray, cosines: np.ndarray, spacing: np.ndarray
    ) -> None:
        lay_pixels(data, plane, self.stored, self.syntax, self.fault == "colour")
        if self.inverse:
            data.PhotometricInterpretation = "MONOCHROME1"
        if self.fault != "no position":
            data.ImagePositionPatient = [decimal(mm) for mm in place]
        if self.fault != "no orientation":
            data.ImageOrientationPatient = [decimal(cosine) for cosine in cosines.ravel()]
        if self.fault != "no spacing":
            data.PixelSpacing = [decimal(mm) for mm in spacing[::-1]]
        if self.thickness is not None:
            data.SliceThickness = decimal(self.thickness)

    def _fault_slice(self, data: FileDataset, array: np.ndarray, n: int, path: Path) -> None:
        if n != array.shape[2] // 2:
            return
        if self.fault == "another size":
            lay_pixels(data, np.zeros((3, 9), int), self.stored, self.syntax)
        elif self.fault == "another orientation":
            data.ImageOrientationPatient = [decimal(c) for c in np.roll(np.array(data.ImageOrientationPatient), 1)]
        elif self.fault == "another spacing":
            data.PixelSpacing = [decimal(1.5 * mm) for mm in data.PixelSpacing]
        elif self.fault == "no pixels":
            del data.PixelData
        elif self.fault == "two echoes":
            other = head(self.kind, self.syntax, 900)
            for element in data:
                if element.tag.group > 8:
                    other.add(deepcopy(element))
            lay_pixels(other, array[:, :, n][::-1] // 2, self.stored, self.syntax)
            other.SeriesInstanceUID = data.SeriesInstanceUID
            save(other, path / "echo.dcm", self.preamble)
        elif self.fault == "two series":
            other = head(self.kind, self.syntax, 1, "2")
            for element in data:
                if element.tag.group > 8 and element.keyword != "SeriesInstanceUID":
                    other.add(deepcopy(element))
            save(other, path / "other.dcm", self.preamble)

    def _lay_beside(self, path: Path, array: np.ndarray) -> None:
        if self.beside in OBJECTS:
            save(head(self.beside, "explicit", 800, "8"), path / f"{self.beside}.dcm")
        elif self.beside == "folder":
            (path / "more").mkdir()
            (path / "more" / "notes.txt").write_text("x")
        elif self.beside == "DICOMDIR":
            (path / self.beside).write_bytes(bytes(128) + b"DICM" + bytes(50))
        elif self.beside:
            (path / self.beside).write_bytes(b"\0\1nothing of a scan" * 20)

    def _judge(self, written: Written, step: np.ndarray) -> None:
        """SimpleITK types a series by its first file, inverts MONOCHROME1 (which says how to show values, not what they
        are), takes a structure set for the series, loses axes of one voxel, and ends the process where the planes of
        an RLE file have an odd number of bytes."""
        k = self.grid.shape[2]
        in_one = self.rescaled in ("none", "CT", "halved", "half") and not (
            self.fault or self.inverse or self.beside in OBJECTS
        )
        if (
            in_one
            and min(self.grid.shape) > 1
            and self.beside != "DICOMDIR"
            and self.syntax not in ("big endian", "RLE")
            and self.preamble
        ):
            written.witnesses = ("itk",)
        if k == 1:
            written.doubtful("one slice")
            written.witnesses = ()
        written.slack_mm = 2e-8 * float(np.abs(written.affine[:3]).max())
        written.beside = ("notes.txt", ".DS_Store", "Thumbs.db", "DICOMDIR", "copy.dcm~")
        written.perhaps = (*(f"{name}.dcm" for name in OBJECTS), "again.dcm")
        fault = self.fault
        if fault in ("gap", "uneven") and k < 4:
            written.doubtful("too few slices to see a gap")
            written.any_place = True
        elif fault == "jitter":
            written.slack_mm += 0.05 * float(np.linalg.norm(step))
            if k < 3:
                written.any_place = True
        elif fault == "twice":
            written.doubtful("a slice twice")
        elif fault == "tilt" and k < 2:
            written.doubtful("one slice")
        elif fault in ("another orientation", "another spacing", "another size", "no pixels") and k < 2:
            written.doubtful("one slice")
            written.any_place = True
        elif fault:
            written.refused(fault)


@dataclass(frozen=True, repr=False)
class Frames(Description):
    """One file of many frames, in a folder or by itself."""

    grid: Grid = PLAIN
    kind: str = "enhanced CT"
    stored: str = "i2"
    content: str = "distinct"
    rescaled: str = "none"
    by_frame: tuple[str, ...] = ()
    order: str = "ascending"
    between: bool = True
    syntax: str = "explicit"
    alone: bool = False
    fault: str | None = None

    def write(self, folder: Path) -> Written:
        k = self.grid.shape[2]
        array = stored_voxels(self.grid.shape, self.stored, self.content)
        columns = LPS[:3, :3] @ self.grid.direction
        cosines = as_written(columns[:, :2].T)
        step = columns[:, 2] * self.grid.spacing[2]
        tilt = columns[:, 1] * self.grid.spacing[2] * 0.25 if self.fault == "tilt" else 0
        places = as_written(LPS[:3, :3] @ self.grid.origin + np.arange(k)[:, None] * (step + tilt))
        if self.fault == "uneven":
            places[-1] += step
        elif self.fault == "jitter":
            places[k // 2] = as_written(places[k // 2] + 0.02 * step)
        spacing = as_written(np.array(self.grid.spacing[:2]))
        affine = placed(np.column_stack([*(cosines * spacing[:, None]), step]), places[0])
        if k > 1:
            affine[:3, 2] = (places[-1] - places[0]) / (k - 1)
        written = Written(folder, array, LPS @ affine)
        scaled(written, self.rescaled)
        order = self._order(k)
        data = head("cine" if self.fault == "cine" else self.kind, self.syntax, 0)
        planes = array[:, :, order]
        if self.fault == "two echoes":
            planes[:, :, -1] = planes[::-1, ::-1, -1] // 2
        lay_pixels(data, planes, self.stored, self.syntax, self.fault == "colour")
        data.NumberOfFrames, data.InstanceNumber = len(order), 1
        if self.fault == "cine":
            data.FrameTime = 40
        else:
            self._lay_groups(data, order, places, cosines, spacing)
        (folder / "frames").mkdir()
        file = save(data, folder / "frames" / "volume.dcm")
        if self.fault == "cut short":
            file.write_bytes(file.read_bytes()[: -12 if self.syntax == "RLE" else -4])  # RLE: behind a delimiter of 8
        written.path = file if self.alone else file.parent
        self._judge(written, step)
        return written

    def _order(self, k: int) -> list[int]:
        order = list(range(k))
        if self.order == "descending":
            order = order[::-1]
        elif self.order == "shuffled":
            order = np.random.default_rng(3).permutation(k).tolist()
        if self.fault == "gap":
            order.remove(k // 2)
        elif self.fault in ("doubled", "two echoes"):
            order.append(k // 2)
        return order

    def _lay_groups(
        self, data: FileDataset, order: list[int], places: np.ndarray, cosines: np.ndarray, spacing: np.ndarray
    ) -> None:
        volume = "Volume" if self.kind == "US" else ""
        slopes, inters = rescale(self.rescaled, self.grid.shape[2])

        def group(name: str, frame: int) -> Dataset:
            inner = Dataset()
            if name == "measures":
                inner.PixelSpacing = [decimal(mm) for mm in spacing[::-1]]
                inner.SliceThickness = 5
                if self.between:
                    inner.SpacingBetweenSlices = decimal(self.grid.spacing[2])
                if self.fault == "two spacings" and frame == order[-1]:
                    inner.PixelSpacing = [decimal(2 * mm) for mm in spacing[::-1]]
                if self.fault == "no spacing":
                    del inner.PixelSpacing
            elif name == "orientation":
                words = [decimal(cosine) for cosine in cosines.ravel()]
                if self.fault == "two orientations" and frame == order[-1]:
                    words = words[3:] + words[:3]
                if volume:
                    inner.ImageOrientationVolume = [float(word) for word in words]
                else:
                    inner.ImageOrientationPatient = words
            elif name == "position":
                words = [decimal(mm) for mm in places[frame]]
                if volume:
                    inner.ImagePositionVolume = [float(word) for word in words]
                else:
                    inner.ImagePositionPatient = words
            else:
                inner.RescaleSlope, inner.RescaleIntercept = decimal(slopes[frame]), decimal(inters[frame])
                inner.RescaleType = "US"
            return inner

        names = {
            "measures": "PixelMeasuresSequence",
            "orientation": f"PlaneOrientation{volume}Sequence",
            "position": f"PlanePosition{volume}Sequence",
            "rescale": "PixelValueTransformationSequence",
        }
        if self.rescaled == "none":
            del names["rescale"]
        if self.fault == "no positions":
            del names["position"]
        if self.fault == "no orientation":
            del names["orientation"]
        apart = {*self.by_frame, "position"}
        apart |= {"rescale"} if len(set(zip(slopes, inters, strict=True))) > 1 else set()
        apart |= {"measures"} if self.fault == "two spacings" else set()
        apart |= {"orientation"} if self.fault == "two orientations" else set()
        shared, frames = Dataset(), [Dataset() for _ in order]
        for name, keyword in names.items():
            for frame, holder in zip(order, frames, strict=True) if name in apart else [(order[0], shared)]:
                setattr(holder, keyword, Sequence([group(name, frame)]))
        data.SharedFunctionalGroupsSequence = Sequence([shared])
        data.PerFrameFunctionalGroupsSequence = Sequence(frames)

    def _judge(self, written: Written, step: np.ndarray) -> None:
        """No witness: ITK gives such files 1 mm, and nibabel does not read them."""
        k = self.grid.shape[2]
        written.slack_mm = 2e-8 * float(np.abs(written.affine[:3]).max())
        if k == 1 or (self.fault in ("gap", "uneven", "two orientations") and k < 4):
            written.doubtful("too few frames")
            written.any_place = k > 1 or not self.between
        elif self.fault == "jitter":
            written.slack_mm += 0.05 * float(np.linalg.norm(step))
            written.any_place = k < 3
        seen = {"jitter": False, "gap": k >= 4, "uneven": k >= 4, "two orientations": k > 1, "tilt": k > 1}
        seen |= {"doubled": False, "no positions": not self.between, "two spacings": k > 1}
        vague = self.fault == "doubled" or (self.fault == "no positions" and self.between)
        written.judge({str(self.fault): bool(self.fault) and seen.get(str(self.fault), True)}, {str(self.fault): vague})
        written.any_place = written.any_place or self.fault == "no positions"


def _fitting(scan: Any) -> Any:
    """One slice, or frame, cannot have what lies between two."""
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
series = st.builds(
    Series,
    grid=grids,
    kind=st.sampled_from(["CT", "MR", "PT"]),
    stored=STORES,
    content=CONTENTS,
    rescaled=st.sampled_from(RESCALES),
    names=st.sampled_from(["ascending", "descending", "shuffled", "bare"]),
    numbers=st.sampled_from(["ascending", "from 100", "descending", "absent", "alike"]),
    syntax=st.sampled_from(list(SYNTAXES)),
    preamble=rarely(False, default=True),
    inverse=rarely(True, default=False),
    thickness=rarely(None, 0.0, default=5.0),
    beside=st.one_of(st.just(""), st.sampled_from([*OBJECTS, *BESIDE])),
    fault=rarely(*SERIES_FAULTS),
).map(_fitting)
frames = st.builds(
    Frames,
    grid=grids,
    kind=st.sampled_from(["enhanced CT", "enhanced MR", "enhanced PT", "legacy CT", "US"]),
    stored=STORES,
    content=CONTENTS,
    rescaled=st.sampled_from(RESCALES),
    by_frame=st.sampled_from([(), (), ("measures",), ("orientation",), ("rescale",), ("measures", "orientation")]),
    order=st.sampled_from(["ascending", "descending", "shuffled"]),
    between=st.booleans(),
    syntax=st.sampled_from(["explicit", "explicit", "implicit", "RLE", "deflated"]),
    alone=st.booleans(),
    fault=rarely(*FRAME_FAULTS),
).map(_fitting)
