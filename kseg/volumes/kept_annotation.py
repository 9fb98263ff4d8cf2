"""A predicted mask in which what a person annotated stays as it is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import some_of
from kseg.recipe.types import Spacing
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.labels import MAX_SHOWN, LabelMap, UnknownLabelValues
from kseg.volumes.read import open_labels
from kseg.volumes.volume_stream import GATHERED_PLANES, VolumeStream


@dataclass(frozen=True)
class LabelsOfFiles:
    """How the label files of a run's scans are read.

    `classes` are what the run's masks hold. `in_files` has these, perhaps others, which are background, and the value
    of voxels that nobody labelled. `annotation` says which slices count.
    """

    classes: LabelMap
    in_files: LabelMap
    annotation: Annotation


def open_annotation(
    path: Path, image: VolumeStream, labels: LabelsOfFiles, assume_spacing_mm: Spacing = ()
) -> VolumeStream:
    """Return a label file's indices of `labels.classes`, `num_classes` where nobody labelled; all of it is read.

    Args:
        path: of the label file, on the grid of `image`.
        image: that is to be segmented.
        labels: of the run, and how they are read.
        assume_spacing_mm: as in `open_labels`.

    Raises:
        InputError: the file is damaged, lies elsewhere or holds other values; or it leaves no voxel to a network.
    """
    in_files, annotation = labels.in_files, labels.annotation
    among = in_files.indices_among(labels.classes)
    try:
        values = open_labels(path, annotation.label_map_of_files(in_files), image, path.name, assume_spacing_mm)
        annotated = annotation.of_annotated_slices(values, in_files.num_classes)
        indices = annotated.mapped(among.__getitem__, among.dtype)
        slabs = (slab < labels.classes.num_classes for _, slab in indices.read(GATHERED_PLANES))
        some, whole = zip(*((labelled.any(), labelled.all()) for labelled in slabs), strict=True)
    except UnknownLabelValues as error:
        known = ", ".join(f"{value} {name}" for name, value in in_files.in_files)
        raise InputError(
            f"annotation '{path}' holds {some_of([f'{value:g}' for value in error.values], MAX_SHOWN)}, which is no "
            f"label of the run (known: {known}): correct it; where a value marks slices that are annotated and empty, "
            "give it as data.empty_slices beside data.annotated_slices"
        ) from None
    if not any(some):
        raise InputError(
            f"annotation '{path}' has nothing annotated: give the label map with what was drawn, or leave out "
            "--annotation"
        )
    if all(whole):
        ways = [] if in_files.ignore is None else [f"mark what is to be filled in as {in_files.ignore} (ignore)"]
        if annotation.across == "none":
            ways.insert(0, "name the axis across which some slices alone are annotated, data.annotated_slices=z")
        remedy = ", or ".join(ways) or "clear the slices that are to be filled in"
        raise InputError(
            f"annotation '{path}' says of every voxel what it is, so that none is left to segment: {remedy}"
        )
    return indices


def keep_annotation(mask: np.ndarray, labels: VolumeStream, label_map: LabelMap) -> None:
    """Write what is labelled into a mask, label values `(x, y, z)`, in place; slab by slab."""
    along = np.moveaxis(mask, labels.axis, 0)
    for first, slab in labels.read(GATHERED_PLANES):
        indices = np.moveaxis(slab[..., 0], labels.axis, 0)
        labelled = indices < label_map.num_classes
        along[first : first + len(indices)][labelled] = label_map.to_values(indices[labelled])
