"""Reading images and labels: every check that a file needs, so that what comes later computes without any.

What is opened here is read slab by slab by whoever prepares it, and whole by whoever predicts it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.recipe.types import Spacing
from kseg.volumes.formats.open import open_stored
from kseg.volumes.geometry import grid_difference
from kseg.volumes.labels import LabelMap, UnknownLabelValues, index_dtype
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import GATHERED_PLANES, Slab, VolumeStream, gather, stream_of_file, stream_of_volume


def open_image(paths: Sequence[Path], case: str, assume_spacing_mm: Spacing = ()) -> VolumeStream:
    """Image of a case in RAS+ order, its channels stacked from `paths` (files, or folders of a DICOM series).

    `assume_spacing_mm` is for files that do not state theirs, as in `open_stored`.

    The type is the files' own of uint8, int8, uint16, int16, int32 and float32. Float of another width, or
    integers scaled by the header, become float32; wider integers int32 where they fit, else float32; Boolean uint8.

    Raises `InputError` for a file that `open_stored` refuses, one of several that holds more than a channel, and where
    the grid of a channel is not that of the first; and while it is read for damage, for values that are NaN or infinite
    (in float32), and at its end for a file whose voxels are all equal.
    """
    stored = _stored_channels(paths, case, assume_spacing_mm)
    channels = [_checked(stream, path) for stream, path in zip(stored, paths, strict=True)]
    first = channels[0]
    if len(channels) == 1:
        return first
    dtype = _narrowest(np.result_type(*(channel.dtype for channel in channels)))

    def read(thickness: int) -> Iterator[Slab]:
        alike = [_in_order_of(first, channel, f"image '{path}'") for path, channel in zip(paths, channels, strict=True)]
        for slabs in zip(*(channel.read(thickness) for channel in alike), strict=True):
            array = np.concatenate([slab.array for slab in slabs], axis=-1).astype(dtype, copy=False)
            yield Slab(slabs[0].first, array)

    notes = tuple(dict.fromkeys(note for channel in channels for note in channel.notes))
    return replace(first, channels=sum(channel.channels for channel in channels), dtype=dtype, read=read, notes=notes)


def open_headers(paths: Sequence[Path], case: str, assume_spacing_mm: Spacing = ()) -> VolumeStream:
    """The image of a case as its headers have it, for checks that need no voxels; its type is the first file's own.

    Raises `InputError` as `open_image` does when it opens, and reads nothing.
    """
    first, *others = _stored_channels(paths, case, assume_spacing_mm)
    return replace(first, channels=first.channels + sum(other.channels for other in others))


def open_labels(
    path: Path, label_map: LabelMap, image: VolumeStream | Volume, case: str, assume_spacing_mm: Spacing = ()
) -> VolumeStream:
    """Class indices of a case on the grid of `image`, one channel, uint8 (uint16 from 256 classes on).

    Voxels that nobody labelled have the index behind the last class's.

    Raises `InputError` for a file that `open_stored` refuses and for another grid than the image's; and while it is
    read for damage, for values that are no whole numbers, and at its end for all values that `label_map` does not hold
    (`UnknownLabelValues`).
    """
    where = f"label '{path}' of case '{case}'"
    file = open_stored(path, assume_spacing_mm)
    labels = stream_of_file(file, image.affine)
    if len(file.shape) != 3:
        raise InputError(
            f"{where} must have one value a voxel: received the shape {(*labels.shape, labels.channels)}; "
            "merge its channels into one label map."
        )
    if difference := grid_difference(labels, image, "its image"):
        if labels.stored.placed != image.stored.placed:
            difference += ", or give the one that does not say where it lies the other's header"
        raise InputError(f"{where} {difference}.")

    def read(thickness: int) -> Iterator[Slab]:
        unknown: set[float] = set()
        for first, values in labels.read(thickness):
            try:
                indices = label_map.to_indices(values, where)
            except UnknownLabelValues as error:
                unknown.update(error.values)
                continue
            if not unknown:
                yield Slab(first, indices)
        if unknown:
            raise UnknownLabelValues(where, unknown, label_map)

    return replace(labels, dtype=index_dtype(label_map.num_classes), read=read)


def read_volume(path: Path, assume_spacing_mm: Spacing = ()) -> Volume:
    """Intensities of a file, or of the DICOM series in a folder, whole, in RAS+ order.

    Args:
        path: of a NIfTI, MetaImage or NRRD file, a DICOM file, or a folder with one DICOM series.
        assume_spacing_mm: the voxels' size along the file's own axes i, j, k, in mm, where the file does not state it.

    Returns:
        A `Volume`: its `array` is (x, y, z), or (x, y, z, channels) for a file of four axes or vector voxels, of the
        file's own type (`open_image`); x grows to the right, y to the front, z upwards. Its `spacing_mm` is along x, y,
        z, its `affine` maps (x, y, z) to mm.

    Raises:
        InputError: the file is missing, damaged or empty, holds NaN or infinite values, or does not state how large its
            voxels are.

    Example:
        A file whose first axis runs to the left, as many do:

        >>> import tempfile
        >>> from pathlib import Path
        >>> import kseg
        >>> import nibabel
        >>> import numpy as np
        >>> stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "leg.nii.gz"
        ...     image = nibabel.Nifti1Image(stored, np.diag([-0.5, 0.5, 2.0, 1.0]))
        ...     image.header.set_xyzt_units("mm")
        ...     nibabel.save(image, path)
        ...     volume = kseg.read_volume(path)
        >>> volume.array.shape, str(volume.array.dtype), volume.spacing_mm
        ((2, 3, 4), 'int16', (0.5, 0.5, 2.0))
        >>> bool((volume.array == stored[::-1]).all())
        True
    """
    volume = read_image([path], path.name, assume_spacing_mm)
    return volume if volume.array.shape[3] > 1 else replace(volume, array=volume.array[..., 0])


def read_image(paths: Sequence[Path], case: str, assume_spacing_mm: Spacing = ()) -> Volume:
    """Image of a case, whole, (x, y, z, channels). Raises `InputError` as `open_image` does."""
    return gather(open_image(paths, case, assume_spacing_mm), f"image '{paths[0]}'")


def _stored_channels(paths: Sequence[Path], case: str, assume_spacing_mm: Spacing) -> list[VolumeStream]:
    """The files of an image, all on the grid of the first; nothing of their voxels has been looked at."""
    first = stream_of_file(open_stored(paths[0], assume_spacing_mm))
    others = (stream_of_file(open_stored(path, assume_spacing_mm), first.affine) for path in paths[1:])
    channels = [first, *others]
    for path, channel in zip(paths, channels, strict=True):
        if channel.channels > 1 < len(paths):
            raise InputError(
                f"image '{path}' of case '{case}' holds {counted(channel.channels, 'channel')}, beside "
                f"{counted(len(paths) - 1, 'more file')}: give a file for each channel, or one that holds them all"
            )
        if difference := grid_difference(channel, first, f"its first channel '{paths[0]}'"):
            raise InputError(f"image '{path}' of case '{case}' {difference}.")
    return channels


def _checked(stream: VolumeStream, path: Path) -> VolumeStream:
    """The stream of a file in the type in which voxels are kept, checked as it is read."""
    dtype = _narrowest(stream.dtype)
    if stream.dtype.kind in "iu" and dtype == np.float32:  # their range is known only to those who read them
        limits, fits = np.iinfo(np.int32), True
        for _, array in stream.read(GATHERED_PLANES):
            fits = fits and limits.min <= array.min() and array.max() <= limits.max
        dtype = np.dtype(np.int32) if fits else dtype

    def read(thickness: int) -> Iterator[Slab]:
        lowest, highest = np.inf, -np.inf
        for first, stored in stream.read(thickness):
            with np.errstate(over="ignore"):  # beyond float32 becomes infinite
                array = stored.astype(dtype, copy=False)
            if dtype.kind == "f" or not lowest < highest:  # of integers the first two that differ are enough
                low, high = array.min(), array.max()  # NaN and infinity show in them, at no cost in memory
                lowest, highest = min(lowest, low), max(highest, high)
                if not (np.isfinite(low) and np.isfinite(high)):
                    raise _not_finite(stored, path)
            yield Slab(first, array)
        if lowest == highest:
            raise InputError(f"image '{path}' is an empty volume: received {lowest:g} everywhere; leave it out.")

    return replace(stream, dtype=dtype, read=read)


def _not_finite(stored: np.ndarray, path: Path) -> InputError:
    """Return the error about voxels that are not finite, or are not in float32."""
    largest = np.abs(stored).max()  # of what is NaN it is NaN
    if np.isfinite(largest):
        return InputError(f"image '{path}' must fit into float32: received {largest:.4g}; replace what is beyond 3e38.")
    return InputError(f"image '{path}' must be finite: received NaN or infinity; replace them.")


def _narrowest(dtype: np.dtype) -> np.dtype:
    """Return the type in which voxels of `dtype` are kept; float32 for integers that may not fit into int32."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    narrow = dtype.kind in "iu" and (dtype.itemsize <= 2 or dtype.kind + str(dtype.itemsize) == "i4")
    return dtype.newbyteorder("=") if narrow else np.dtype(np.float32)


def _in_order_of(first: VolumeStream, other: VolumeStream, name: str) -> VolumeStream:
    """Return the other with its slabs in the order of `first`; where its file runs another way it is read whole."""
    if (other.axis, other.downwards) == (first.axis, first.downwards):
        return other
    return stream_of_volume(gather(other, name), first.axis, first.downwards)
