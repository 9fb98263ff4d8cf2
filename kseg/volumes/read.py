"""Reading images and labels: every check a stranger's file needs, so that later rooms compute without any."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.formats import read_stored
from kseg.volumes.geometry import grid_difference, to_ras
from kseg.volumes.labels import LabelMap
from kseg.volumes.volume import Volume


def read_volume(path: Path) -> Volume:
    """Intensities of a NIfTI, MetaImage or NRRD file, or of the DICOM series in a folder, in RAS+ order.

    (x, y, z), or (x, y, z, channels) for a file of four axes or vector voxels. The type is the file's own of
    uint8, int8, uint16, int16, int32 and float32. Float of another width, or integers scaled by the header,
    become float32; wider integers int32 where they fit, else float32; Boolean uint8.

    Raises `InputError` for a file that `formats.read_stored` refuses, for values that are NaN or infinite (in
    float32), and for a volume whose voxels are all equal.
    """
    stored = _in_ras(path)
    array = _intensities(stored.array)
    lowest, highest = array.min(), array.max()  # NaN and infinity show in them, at no cost in memory
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InputError(f"image '{path}' must be finite: received NaN or infinity; replace them.")
    if lowest == highest:
        raise InputError(f"image '{path}' is an empty volume: received {lowest:g} everywhere; leave it out.")
    return Volume(array, stored.affine, stored.stored)


def read_image(paths: Sequence[Path], case: str) -> Volume:
    """Image of a case, always (x, y, z, channels), its channels stacked from `paths` in their order.

    Raises `InputError` as `read_volume` does, and where the grid of a channel is not that of the first.
    """
    volumes = [read_volume(path) for path in paths]
    for path, volume in zip(paths[1:], volumes[1:], strict=True):
        if difference := grid_difference(volume, volumes[0], f"its first channel '{paths[0]}'"):
            raise InputError(f"image '{path}' of case '{case}' {difference}: resample one onto the other's grid.")
    channels = [volume.array.reshape(*volume.shape, -1) for volume in volumes]
    array = _intensities(np.concatenate(channels, axis=-1)) if len(channels) > 1 else channels[0]
    return Volume(array, volumes[0].affine, volumes[0].stored)


def read_labels(path: Path, label_map: LabelMap, image: Volume, case: str) -> np.ndarray:
    """Class indices of a case, (x, y, z) on the grid of `image`, uint8 (uint16 from 256 classes on).

    Raises `InputError` for a file that `formats.read_stored` refuses, for another grid than the image's, for
    values that are no whole numbers, and for values that `label_map` does not hold.
    """
    where = f"label '{path}' of case '{case}'"
    labels = _in_ras(path)
    if labels.array.ndim != 3:
        raise InputError(
            f"{where} must have one value a voxel: received the shape {labels.array.shape}; "
            "merge its channels into one label map."
        )
    if difference := grid_difference(labels, image, "its image"):
        raise InputError(f"{where} {difference}: resample one onto the other's grid.")
    return label_map.to_indices(labels.array, where)


def _in_ras(path: Path) -> Volume:
    array, stored = read_stored(path)
    return Volume(*to_ras(array, stored.affine), stored)


def _intensities(array: np.ndarray) -> np.ndarray:
    """The array in one of the types that `read_volume` names."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        if array.dtype.itemsize <= 2 or array.dtype.kind + str(array.dtype.itemsize) == "i4":
            return array.astype(array.dtype.newbyteorder("="), copy=False)
        fits = np.iinfo(np.int32).min <= array.min() and array.max() <= np.iinfo(np.int32).max
        return array.astype(np.int32 if fits else np.float32)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which the caller reports
        return array.astype(np.float32, copy=False)
