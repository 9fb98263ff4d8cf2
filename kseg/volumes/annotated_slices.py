"""Label maps of which some slices alone are annotated: all voxels of the others are voxels that nobody labelled.

ITK-SNAP and 3D Slicer leave slices that nobody touched at 0, as background. Which slices were annotated follows from
the foreground in them; one that was looked at and is empty is marked by a value of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from kseg.console.errors import InputError
from kseg.recipe.types import AXES, Axis, NoAxis
from kseg.volumes.geometry import other_axes
from kseg.volumes.labels import LabelMap, index_dtype
from kseg.volumes.volume_stream import GATHERED_PLANES, Slab, VolumeStream

FEWEST_SLICES, THICKEST = 3, 2
"""Slices, and planes of each, from which on foreground looks as if slices alone had been annotated."""


class Annotation(BaseModel):
    """Which slices of label maps count: those `across` an axis that hold foreground, or `empty_value`; or all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    across: Axis | NoAxis = "none"
    empty_value: int | None = None
    """In label files, of background in a slice that was annotated."""

    def label_map_of_files(self, classes: LabelMap) -> LabelMap:
        """Return the label map with which files are read: it has one class more where there is an `empty_value`.

        Raises:
            InputError: that value is one of a class.
        """
        if self.empty_value is None:
            return classes
        for name, value in classes.in_files:
            if value == self.empty_value:
                raise InputError(
                    f"data.empty_slices = {value} is the value of '{name}': annotated slices without foreground need "
                    "one of their own"
                )
        names, values = (*classes.names, "data.empty_slices"), (*classes.values, self.empty_value)
        return replace(classes, names=names, values=values, regions=())

    def of_annotated_slices(self, labels: VolumeStream, num_classes: int) -> VolumeStream:
        """Return class indices, `num_classes` in slices that nobody annotated, with a note on how many were.

        All of `labels` is read for that, and again whenever the result is.

        Args:
            labels: indices of `label_map_of_files`.
            num_classes: without what it added.

        Raises:
            InputError: as reading `labels` does.
        """
        if self.across == "none":
            return labels
        axis = AXES.index(self.across)
        marked = num_classes if self.empty_value is not None else None
        ignored = num_classes + (marked is not None)
        planes = [np.zeros(length, bool) for length in labels.shape]
        for first, slab in labels.read(GATHERED_PLANES):
            said = (slab[..., 0] > 0) & (slab[..., 0] != ignored)
            for number, across in enumerate(planes):
                across[_planes(number, labels.axis, first, slab)] |= said.any(axis=other_axes(number))
        annotated = planes[axis]
        dtype = index_dtype(num_classes)
        in_annotated = np.array([*range(num_classes), *([0] if marked else []), num_classes], dtype)

        def read(thickness: int) -> Iterator[Slab]:
            for first, slab in labels.read(thickness):
                indices = in_annotated[slab]
                np.moveaxis(indices, axis, 0)[~annotated[_planes(axis, labels.axis, first, slab)]] = num_classes
                yield Slab(first, indices)

        notes = [f"{annotated.sum()} of {len(annotated)} slices across {self.across} are annotated"]
        if likely := [name for name in sliced_axes(planes) if name != self.across]:
            notes.append(f"{sliced_note(likely[0])}, not {self.across}")
        return replace(labels, dtype=dtype, read=read, notes=(*labels.notes, *notes))


def sliced_axes(planes: Sequence[np.ndarray]) -> list[str]:
    """Return the axes across which foreground lies in slices by themselves, as if no others had been annotated.

    Args:
        planes: of x, y and z, which planes across it hold foreground, Boolean.
    """
    return [name for name, across in zip(AXES, planes, strict=True) if _is_sliced(across)]


def sliced_note(across: str) -> str:
    """Return a sentence on such a label map."""
    return (
        f"its foreground lies in single slices across {across} with empty ones between: if nobody annotated these, "
        f"prepare with data.annotated_slices={across}"
    )


def _is_sliced(across: np.ndarray) -> bool:
    """Whether there are `FEWEST_SLICES` groups of planes or more, none thick, and each gap wider than a group."""
    edges = np.flatnonzero(np.diff(across.astype(np.int8), prepend=0, append=0))
    first, stop = edges[::2], edges[1::2]
    gaps = first[1:] - stop[:-1]
    return len(first) >= FEWEST_SLICES and int((stop - first).max()) <= THICKEST and int(gaps.min()) > THICKEST


def _planes(axis: int, along: int, first: int, slab: np.ndarray) -> slice:
    """Which planes across `axis` a slab holds whose first plane `along` its stream's axis is `first`."""
    return slice(first, first + slab.shape[axis]) if axis == along else slice(None)
