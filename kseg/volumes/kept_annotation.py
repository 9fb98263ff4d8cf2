"""A predicted mask in which what a person annotated stays as it is."""

from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.recipe.types import Spacing
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import open_labels
from kseg.volumes.volume_stream import GATHERED_PLANES, VolumeStream


def open_annotation(
    path: Path, image: VolumeStream, label_map: LabelMap, annotation: Annotation, assume_spacing_mm: Spacing = ()
) -> VolumeStream:
    """Return the class indices of a label file, `num_classes` where nobody labelled; all of it is read, and checked.

    Args:
        path: of the label file, on the grid of `image`.
        image: that is to be segmented.
        label_map: of the run, with the value of voxels that nobody labelled.
        annotation: which slices of the file count.
        assume_spacing_mm: as in `open_labels`.

    Raises:
        InputError: the file is damaged, lies elsewhere or holds other values; or it leaves no voxel to a network.
    """
    in_file = open_labels(path, annotation.label_map_of_files(label_map), image, path.name, assume_spacing_mm)
    labels = annotation.of_annotated_slices(in_file, label_map.num_classes)
    labelled = [bool((slab < label_map.num_classes).all()) for _, slab in labels.read(GATHERED_PLANES)]
    if all(labelled):
        mark = "" if label_map.ignore is None else f", or mark what is to be filled in as {label_map.ignore} (ignore)"
        raise InputError(
            f"annotation '{path}' says of every voxel what it is, so that none is left to segment: name the axis "
            f"across which some slices alone are annotated, data.annotated_slices=z{mark}"
        )
    return labels


def keep_annotation(mask: np.ndarray, labels: VolumeStream, label_map: LabelMap) -> None:
    """Write what is labelled into a mask, label values `(x, y, z)`, in place; slab by slab."""
    along = np.moveaxis(mask, labels.axis, 0)
    for first, slab in labels.read(GATHERED_PLANES):
        indices = np.moveaxis(slab[..., 0], labels.axis, 0)
        labelled = indices < label_map.num_classes
        along[first : first + len(indices)][labelled] = label_map.to_values(indices[labelled])
