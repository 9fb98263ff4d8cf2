"""Measuring a mask in a file, whoever made it: a label map of any type of whole numbers, and its scan."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.measures.mask_files import MaskFile
from kseg.measures.open_mask import label_values, open_mask
from kseg.measures.structures import Measures, measure_structures, named_by_value
from kseg.recipe.types import Spacing
from kseg.volumes.read import open_image
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume_stream import VolumeStream, gather


@dataclass(frozen=True)
class MeasuredFile:
    """The measures of a mask by structure, the grid of its file, and what a user should know."""

    measures: dict[str, Measures]
    stored: StoredGeometry
    notes: tuple[str, ...]


def measure_file(
    mask: MaskFile,
    structures: Mapping[str, Collection[int]],
    axis: int,
    assume_spacing_mm: Spacing = (),
    background: int = 0,
) -> MeasuredFile:
    """Measure a mask. It is in memory as the smallest type that holds its values; its scan is read slab by slab.

    Args:
        mask: its file, and its scan's.
        structures: names, each with its label values; if empty, each value but 0 is a structure.
        axis: 0, 1 or 2, of the volume in RAS+ order.
        assume_spacing_mm: for files that do not state theirs.
        background: the value that is none of a structure.

    Raises:
        InputError: a file cannot be read, the mask is no label map, or it does not lie on the grid of its scan.
    """
    image = open_image([mask.image], mask.case, assume_spacing_mm) if mask.image else None
    stream = open_mask(mask.path, assume_spacing_mm, image, f"its scan '{mask.image}'")
    labels, values = _labels(stream, mask.path)
    named = structures or named_by_value(sorted(values), background)
    known = {value for own in named.values() for value in own}
    notes = [*stream.notes]
    if others := sorted(values - known - {background}):
        told = ", ".join(map(str, others))
        notes.append(f"values without a name are not measured: {told}")
    return MeasuredFile(measure_structures(labels, stream.affine, named, axis, image), stream.stored, tuple(notes))


def _labels(stream: VolumeStream, path: Path) -> tuple[np.ndarray, set[int]]:
    """Return the label values of a file, (x, y, z), and which there are."""
    values = label_values(stream, path)
    kind = np.promote_types(np.min_scalar_type(min(values)), np.min_scalar_type(max(values)))
    if kind.kind not in "iu":
        raise InputError(f"mask '{path}' holds values that no integer type has: received {min(values)}, {max(values)}")
    is_float = stream.dtype.kind == "f"  # an integer, but for what a scaled header or a resampler leaves of it
    whole = stream.mapped(lambda array: (np.rint(array) if is_float else array).astype(kind, copy=False), kind)
    return gather(whole, f"mask '{path}'").array[..., 0], values
