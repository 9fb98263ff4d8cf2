"""DICOM files of many frames as they are found: enhanced CT, MR and PET, volumes of ultrasound, cine loops."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_tags import (
    CONTENTS,
    RESCALES,
    STORES,
    as_written,
    decimal,
    fitting,
    head,
    lay_pixels,
    rescale,
    save,
    scaled,
    stored_voxels,
)
from drawn import LPS, PLAIN, Description, Grid, Written, grids, placed, rarely
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

FAULTS = (
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
    fault=rarely(*FAULTS),
).map(fitting)
