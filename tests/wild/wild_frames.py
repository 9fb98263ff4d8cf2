"""DICOM files of many frames as they are found: enhanced CT, MR and PET, volumes of ultrasound, cine loops."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dicom_tags import (
    CONTENTS,
    RESCALES,
    STORES,
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
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

FAULTS = (
    *("gap", "uneven", "jitter", "doubled", "two echoes", "two orientations", "tilt", "no positions", "no spacing"),
    *("cine", "no orientation", "cut short", "colour", "two spacings"),
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
        array = stored_voxels(self.grid.shape, self.stored, self.content)
        slices = slices_of(self.grid, self.fault)
        written = Written(folder, array, LPS @ slices.affine)
        scaled(written, self.rescaled)
        order = self._order(self.grid.shape[2])
        data = head("cine" if self.fault == "cine" else self.kind, self.syntax, 0)
        planes = array[:, :, order]
        if self.fault == "two echoes":
            planes[:, :, -1] = planes[::-1, ::-1, -1] // 2
        lay_pixels(data, planes, self.stored, self.syntax, self.fault == "colour")
        data.NumberOfFrames, data.InstanceNumber = len(order), 1
        if self.fault == "cine":
            data.FrameTime = 40
        else:
            self._lay_groups(data, order, slices)
        (folder / "frames").mkdir()
        file = save(data, folder / "frames" / "volume.dcm")
        if self.fault == "cut short":
            cut_short(file, self.syntax)
        written.path = file if self.alone else file.parent
        self._judge(written, slices.step)
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

    def _lay_groups(self, data: FileDataset, order: list[int], slices: Slices) -> None:
        volume = "Volume" if self.kind == "US" else ""
        slopes, inters = rescale(self.rescaled, self.grid.shape[2])

        def group(name: str, frame: int) -> Dataset:
            inner = Dataset()
            if name == "measures":
                inner.PixelSpacing = [decimal(mm) for mm in slices.spacing[::-1]]
                inner.SliceThickness = 5
                if self.between:
                    inner.SpacingBetweenSlices = decimal(self.grid.spacing[2])
                if self.fault == "two spacings" and frame == order[-1]:
                    inner.PixelSpacing = [decimal(2 * mm) for mm in slices.spacing[::-1]]
                if self.fault == "no spacing":
                    del inner.PixelSpacing
            elif name == "orientation":
                words = [decimal(cosine) for cosine in slices.cosines.ravel()]
                if self.fault == "two orientations" and frame == order[-1]:
                    words = words[3:] + words[:3]
                if volume:
                    inner.ImageOrientationVolume = [float(word) for word in words]
                else:
                    inner.ImageOrientationPatient = words
            elif name == "position":
                words = [decimal(mm) for mm in slices.places[frame]]
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
