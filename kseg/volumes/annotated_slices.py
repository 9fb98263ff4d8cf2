"""Label maps of which some slices alone are annotated: all voxels of the others are voxels that nobody labelled.

ITK-SNAP and 3D Slicer leave slices that nobody touched at 0, as background. Which slices were annotated follows from
the foreground in them; one that was looked at and is empty is marked by a value of its own.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from kseg.recipe.types import Axis, NoAxis
from kseg.volumes.labels import LabelMap, index_dtype
from kseg.volumes.volume_stream import GATHERED_PLANES, Slab, VolumeStream

AXES = ("x", "y", "z")


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
        return replace(classes, names=(*classes.names, "data.empty_slices"), values=(*classes.values, self.empty_value))

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
        annotated = np.zeros(labels.shape[axis], bool)
        for first, slab in labels.read(GATHERED_PLANES):
            said = (slab[..., 0] > 0) & (slab[..., 0] != ignored)
            here = _planes(axis, labels.axis, first, slab)
            annotated[here] |= said.any(axis=tuple(other for other in range(3) if other != axis))
        dtype = index_dtype(num_classes)
        in_annotated = np.array([*range(num_classes), *([0] if marked else []), num_classes], dtype)

        def read(thickness: int) -> Iterator[Slab]:
            for first, slab in labels.read(thickness):
                indices = in_annotated[slab]
                np.moveaxis(indices, axis, 0)[~annotated[_planes(axis, labels.axis, first, slab)]] = num_classes
                yield Slab(first, indices)

        note = f"{annotated.sum()} of {len(annotated)} slices across {self.across} are annotated"
        return replace(labels, dtype=dtype, read=read, notes=(*labels.notes, note))


def _planes(axis: int, along: int, first: int, slab: np.ndarray) -> slice:
    """Which planes across `axis` a slab holds whose first plane `along` its stream's axis is `first`."""
    return slice(first, first + slab.shape[axis]) if axis == along else slice(None)
