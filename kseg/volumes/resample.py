"""Volumes on a grid of another spacing, slab by slab.

The new grid has the old one's axes and centre, so that a flip of the volume changes nothing, and going back is the same
thing with the two grids exchanged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from kseg.console.errors import InputError
from kseg.volumes.interpolation import moved_to, places_of
from kseg.volumes.volume_stream import GATHERED_PLANES, Slab, VolumeStream, firsts_of

Interpolation = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]
"""`kseg.volumes.interpolation.linear` for intensities, `by_label` for class indices."""

NONE_KEPT: Mapping[int, np.ndarray] = MappingProxyType({})
SAME_GRID = 0.01
"""Voxels by which a volume may grow before it is worth interpolating: headers round their spacings."""
MAX_RESAMPLED_VOXELS = 2**34
AT_ONCE = 8
"""Planes that are interpolated at once: in floating point they take eight times the memory, several times over."""


def as_stored(spacing_mm: Sequence[float]) -> np.ndarray:
    """Return a spacing in float64 as float32 has it.

    Some headers, and requests to a server, hold float32: digits beyond it must not decide how many voxels a volume
    gets, where that is 12.5 or a little more.
    """
    return np.asarray(spacing_mm, np.float32).astype(np.float64)


def at_spacing(
    stream: VolumeStream,
    spacing_mm: Sequence[float],
    interpolation: Interpolation,
    kept: Mapping[int, np.ndarray] = NONE_KEPT,
) -> VolumeStream:
    """Return a volume at `spacing_mm` (x, y, z), its size kept as nearly as may be; itself where that is its own.

    Args:
        stream: of the volume.
        spacing_mm: of the new voxels.
        interpolation: of the old ones.
        kept: see `on_grid`.

    Raises:
        InputError: it would have more than `MAX_RESAMPLED_VOXELS` voxels.
    """
    pairs = zip(stream.shape, as_stored(stream.spacing_mm), as_stored(spacing_mm), strict=True)
    x, y, z = (max(1, round(length * old / new)) for length, old, new in pairs)
    if float(x) * y * z > MAX_RESAMPLED_VOXELS:
        own = " x ".join(f"{mm:.4g}" for mm in stream.spacing_mm)
        raise InputError(
            f"`spacing_mm` {tuple(spacing_mm)} makes {x} x {y} x {z} voxels of a volume of shape {stream.shape}, whose "
            f"voxels are {own} mm: choose a coarser one."
        )
    return on_grid(stream, (x, y, z), spacing_mm, interpolation, kept)


def on_grid(
    stream: VolumeStream,
    shape: tuple[int, int, int],
    spacing_mm: Sequence[float],
    interpolation: Interpolation,
    kept: Mapping[int, np.ndarray] = NONE_KEPT,
) -> VolumeStream:
    """Return a volume on the grid of `shape` and `spacing_mm` (x, y, z) that has its axes and its centre.

    Memory is that of a slab, and of the planes between which it lies. Errors are those of reading `stream`.

    Args:
        stream: of the volume.
        shape: of the new grid.
        spacing_mm: of the new grid.
        interpolation: of the old voxels.
        kept: by axis, Boolean, planes that are not passed over where new voxels are longer: they are moved to the
            nearest of these (`moved_to`).
    """
    ratios = as_stored(spacing_mm) / as_stored(stream.spacing_mm)
    if shape == stream.shape and (np.abs(ratios - 1) * shape < SAME_GRID).all():
        return stream
    places = [places_of(old, new, ratio) for old, new, ratio in zip(stream.shape, shape, ratios, strict=True)]
    for axis, planes in kept.items():
        if ratios[axis] > 1:
            places[axis] = moved_to(planes, places[axis])
    scaled = np.diag([*ratios, 1.0])
    scaled[:3, 3] = [
        (old - 1) / 2 - (new - 1) / 2 * ratio for old, new, ratio in zip(stream.shape, shape, ratios, strict=True)
    ]

    def read(thickness: int) -> Iterator[Slab]:
        along = places[stream.axis]
        firsts = firsts_of(len(along), thickness, stream.downwards)
        parts = [along[first : first + thickness] for first in firsts]
        for first, part, window in zip(firsts, parts, _windows(stream, parts), strict=True):
            yield Slab(first, _interpolated(window, stream.axis, part, places, interpolation))

    return replace(stream, shape=shape, affine=stream.affine @ scaled, read=read)


def _windows(stream: VolumeStream, parts: Sequence[np.ndarray]) -> Iterator[Slab]:
    """Yield for each part, places along the stream's axis, joined slabs that hold the planes between which they lie.

    The parts go the way of the stream. It is read to its end, where files are found to be damaged.
    """
    slabs = stream.read(GATHERED_PLANES)
    held: list[Slab] = []
    for part in parts:
        low, high = int(part[0]), min(int(part[-1]) + 1, stream.shape[stream.axis] - 1)
        while not held or (held[-1].first > low if stream.downwards else _stop(held[-1], stream.axis) <= high):
            held.append(next(slabs))
        held = [slab for slab in held if slab.first <= high and _stop(slab, stream.axis) > low]
        in_order = held[::-1] if stream.downwards else held
        yield Slab(in_order[0].first, np.concatenate([slab.array for slab in in_order], axis=stream.axis))
    for _ in slabs:
        pass


def _stop(slab: Slab, axis: int) -> int:
    return slab.first + slab.array.shape[axis]


def _interpolated(
    window: Slab, axis: int, part: np.ndarray, places: Sequence[np.ndarray], interpolation: Interpolation
) -> np.ndarray:
    """Return the new planes at the places `part` along `axis`, `(x, y, z, channels)`."""
    shape = [len(along) for along in places]
    shape[axis] = len(part)
    slab = np.empty((*shape, window.array.shape[3]), window.array.dtype)
    old_planes, new_planes = (np.moveaxis(array, axis, 0) for array in (window.array, slab))
    for first in range(0, len(part), AT_ONCE):
        some = part[first : first + AT_ONCE] - window.first
        low, stop = int(some[0]), int(some[-1]) + 2
        block = np.moveaxis(old_planes[low:stop], 0, axis)
        there = [*places[:axis], some - low, *places[axis + 1 :]]
        for channel in range(slab.shape[3]):
            new = interpolation(block[..., channel], there)
            new_planes[first : first + AT_ONCE, ..., channel] = np.moveaxis(new, axis, 0)
    return slab
