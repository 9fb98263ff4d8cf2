"""Opening a mask in a file, whoever made it, on the grid of its scan where there is one."""

from pathlib import Path

from kseg.console.errors import InputError
from kseg.recipe.types import Spacing
from kseg.volumes.cases.folder import whole_values
from kseg.volumes.formats.open import open_stored
from kseg.volumes.geometry import grid_difference
from kseg.volumes.labels import MAX_VALUES
from kseg.volumes.volume_stream import VolumeStream, stream_of_file


def open_mask(
    path: Path, assume_spacing_mm: Spacing = (), image: VolumeStream | None = None, image_name: str = "its scan"
) -> VolumeStream:
    """Return a mask as a stream, in the order of its scan.

    Args:
        path: its file.
        assume_spacing_mm: for files that do not state theirs.
        image: its scan.
        image_name: what messages call that.

    Raises:
        InputError: the file cannot be read, or the mask does not lie on the grid of its scan.
    """
    stream = stream_of_file(open_stored(path, assume_spacing_mm), image.affine if image else None)
    if image and (difference := grid_difference(stream, image, image_name)):
        raise InputError(f"mask '{path}' {difference}.")
    return stream


def label_values(mask: VolumeStream, path: Path, remedy: str = "give the mask of the scan") -> set[int]:
    """Return which label values a mask holds; it is read for them.

    Args:
        mask: the mask.
        path: its file.
        remedy: what to do where it is an image.

    Raises:
        InputError: it is no label map.
    """
    if mask.channels > 1:
        raise InputError(f"mask '{path}' is no label map: it holds several values a voxel; give the mask of the scan")
    values = whole_values(mask, MAX_VALUES)
    if values is None:
        raise InputError(
            f"mask '{path}' is no label map: it holds more than {MAX_VALUES} values, or fractions; {remedy}"
        )
    return values
