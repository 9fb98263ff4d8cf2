"""Label maps of which some slices alone are annotated: all voxels of the others are voxels that nobody labelled.

ITK-SNAP and 3D Slicer leave slices that nobody touched at 0, as background. Which slices were annotated follows from
the foreground in them; one that was looked at and is empty is marked by a value of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

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

    @model_validator(mode="after")
    def _empty_among_annotated(self) -> "Annotation":
        if self.empty_value is not None and self.across == "none":
            raise ValueError("an empty_value without the axis across which slices are annotated")
        return self

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
                    f"one of their own; if that is what '{name}' marks, take it out of data.labels"
                )
        return classes.with_classes({"data.empty_slices": self.empty_value})

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
        planes = _planes_with(labels, lambda slab: (slab > 0) & (slab != ignored))
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

    def planes_to_keep(self, labels: VolumeStream, num_classes: int) -> dict[int, np.ndarray]:
        """Return planes that hold a label, Boolean, by the axis across which some slices alone do; all is read.

        A coarser spacing would pass over most of them (`kseg.volumes.resample.on_grid`). Where `across` is no axis, it
        is one across which labels lie in slices by themselves, if there is one.

        Args:
            labels: class indices, `num_classes` where nobody labelled.
            num_classes: of them.

        Raises:
            InputError: as reading `labels` does.
        """
        planes = _planes_with(labels, lambda slab: slab < num_classes)
        across = sliced_axes(planes) if self.across == "none" else [self.across]
        return {axis: planes[axis] for axis in map(AXES.index, across)}


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


def _planes_with(labels: VolumeStream, said: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Return which planes across x, y and z hold a voxel of which something is `said`, Boolean; all is read."""
    planes = [np.zeros(length, bool) for length in labels.shape]
    for first, slab in labels.read(GATHERED_PLANES):
        there = said(slab[..., 0])
        for axis, across in enumerate(planes):
            across[_planes(axis, labels.axis, first, slab)] |= there.any(axis=other_axes(axis))
    return planes


def _planes(axis: int, along: int, first: int, slab: np.ndarray) -> slice:
    """Which planes across `axis` a slab holds whose first plane `along` its stream's axis is `first`."""
    return slice(first, first + slab.shape[axis]) if axis == along else slice(None)
