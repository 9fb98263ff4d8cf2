"""DICOM series as they are found: a folder with a file for each slice, and with what lies beside them."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_tags import (
    CONTENTS,
    RESCALES,
    STORES,
    SYNTAXES,
    Slices,
    cut_short,
    decimal,
    fitting,
    head,
    lay_pixels,
    rescale,
    save,
    scaled,
    slices_of,
    stored_voxels,
)
from drawn import LPS, PLAIN, Description, Grid, Written, grids, rarely
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

OBJECTS = ("RTSTRUCT", "SR", "PR", "KO")
BESIDE = ("notes.txt", ".DS_Store", "Thumbs.db", "DICOMDIR", "folder", "copy.dcm~")
ODD = (
    *("overlay", "empty rescale", "padding", "detector", "spacing between", "window", "descending location", "times"),
    "charset",
)
FAULTS = (
    *("gap", "tilt", "uneven", "jitter", "two series", "twice", "two echoes", "another size", "another orientation"),
    *("another spacing", "cut short", "no pixels", "no position", "no orientation", "no spacing", "colour"),
)


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
    odd: str = ""
    fault: str | None = None

    def write(self, folder: Path) -> Written:
        path = folder / "series"
        path.mkdir()
        k = self.grid.shape[2]
        array = stored_voxels(self.grid.shape, self.stored, self.content)
        slices = slices_of(self.grid, self.fault)
        written = Written(path, array, LPS @ slices.affine)
        scaled(written, self.rescaled)
        slopes, inters = rescale(self.rescaled, k)
        names = self._names(k)
        numbers = {"from 100": np.arange(k) + 100, "descending": k - np.arange(k), "alike": np.ones(k)}
        for n in range(k):
            if self.fault == "gap" and n == k // 2:
                continue
            data = head(self.kind, self.syntax, n)
            self._lay_slice(data, array[:, :, n], n, slices)
            if self.numbers != "absent":
                data.InstanceNumber = int(numbers.get(self.numbers, np.arange(k) + 1)[n])
            if self.rescaled != "none":
                data.RescaleSlope, data.RescaleIntercept = decimal(slopes[n]), decimal(inters[n])
            self._lay_odd(data, n)
            self._fault_slice(data, array, n, path)
            file = save(data, path / names[n], self.preamble)
            if self.fault == "cut short" and n == k // 2:
                cut_short(file, self.syntax)
            if self.fault == "twice" and n == k // 2:
                (path / "again.dcm").write_bytes(file.read_bytes())
        self._lay_beside(path, array)
        self._judge(written, slices.step)
        return written

    def _names(self, k: int) -> list[str]:
        order = np.arange(k)
        if self.names == "descending":
            order = order[::-1]
        elif self.names == "shuffled":
            order = np.random.default_rng(0).permutation(k)
        return [f"{n:05d}" if self.names == "bare" else f"IM {n}.DCM" for n in order]

    def _lay_slice(self, data: FileDataset, plane: np.ndarray, n: int, slices: Slices) -> None:
        lay_pixels(data, plane, self.stored, self.syntax, self.fault == "colour")
        if self.inverse:
            data.PhotometricInterpretation = "MONOCHROME1"
        if self.fault != "no position":
            data.ImagePositionPatient = [decimal(mm) for mm in slices.places[n]]
        if self.fault != "no orientation":
            data.ImageOrientationPatient = [decimal(cosine) for cosine in slices.cosines.ravel()]
        if self.fault != "no spacing":
            data.PixelSpacing = [decimal(mm) for mm in slices.spacing[::-1]]
        if self.thickness is not None:
            data.SliceThickness = decimal(self.thickness)

    def _lay_odd(self, data: FileDataset, n: int) -> None:
        """Tags that change no value and no place."""
        if self.odd == "overlay" and self.stored.startswith("12") and self.syntax == "explicit":
            pixels = np.frombuffer(data.PixelData, "<u2").copy()
            pixels[::2] |= 0xF000  # bits that are not stored once held overlays
            data.PixelData = pixels.tobytes()
        elif self.odd == "empty rescale" and self.rescaled == "none":
            data.RescaleSlope = data.RescaleIntercept = None
        elif self.odd == "padding":
            data.PixelPaddingValue = 5
        elif self.odd == "detector":
            data.ImagerPixelSpacing = [9, 9]
        elif self.odd == "spacing between":
            data.SpacingBetweenSlices = decimal(self.grid.spacing[2])
        elif self.odd == "window":
            data.WindowCenter, data.WindowWidth, data.VOILUTFunction = 40, 400, "LINEAR"
        elif self.odd == "descending location":
            data.SliceLocation = decimal(-n * self.grid.spacing[2])
        elif self.odd == "times":
            data.AcquisitionTime, data.ContentTime = f"1200{n:02d}", f"1201{n:02d}.5"
        elif self.odd == "charset":
            data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Jörg"
            data.SeriesDescription = "Bein 50% (links) [1]"

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
        elif fault == "no position" and (k == 1 or self.odd == "spacing between"):
            written.doubtful("a size without a place")
            written.any_place = True
        elif fault:
            written.refused(fault)


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
    odd=st.one_of(st.just(""), st.sampled_from(ODD)),
    fault=rarely(*FAULTS),
).map(fitting)
