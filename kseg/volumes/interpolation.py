"""Interpolation on grids that share their axes: intensities linearly, class indices label by label.

Places are rounded to 2^-16 of a voxel, and axes are interpolated in the order x, y, z. So weights, and the shares of
labels that are sums of their products, are exact in float64: ties are ties, whichever way a volume is cut or flipped.
"""

from collections.abc import Sequence

import numpy as np

from kseg.volumes.geometry import other_axes

STEPS = 2**16
"""Places in a voxel."""
MOST = 0.5


def places_of(old: int, new: int, ratio: float) -> np.ndarray:
    """Return where the centres of `new` voxels, each `ratio` old ones long, lie among `old` ones with the same middle.

    Float64, in old voxels; what lies beyond the outermost of these is moved there.
    """
    places = (np.arange(new) - (new - 1) / 2) * ratio + (old - 1) / 2
    return (np.rint(places * STEPS) / STEPS).clip(0, old - 1)


def moved_to(planes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return places that pass over none of some planes: each is given to the new voxel whose centre is nearest to it.

    Of two the nearer has it. A new voxel that lies between two of the planes stays between them.

    Args:
        planes: Boolean, which of the old planes across an axis must not be passed over.
        places: of new voxels, longer than the old ones, along that axis; from `places_of`.

    Example:
        Of ten planes 1, 4 and 7 are annotated; new voxels are two planes long:

        >>> import numpy as np
        >>> from kseg.volumes.interpolation import moved_to, places_of
        >>> planes = np.isin(np.arange(10), (1, 4, 7))
        >>> places_of(10, 5, 2.0)
        array([0.5, 2.5, 4.5, 6.5, 8.5])
        >>> moved_to(planes, places_of(10, 5, 2.0))
        array([1. , 2.5, 4. , 7. , 8.5])
    """
    kept = np.flatnonzero(planes)
    distances = np.abs(places[:, np.newaxis] - kept)
    nearest = distances.argmin(axis=0)
    below = places.astype(np.intp)
    between = planes[below] & planes[np.minimum(below + 1, len(planes) - 1)]
    moved = places.copy()
    for number in np.argsort(-distances.min(axis=0), kind="stable"):  # the nearest of several comes last
        if not between[nearest[number]]:
            moved[nearest[number]] = kept[number]
    return moved


def linear(voxels: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """Interpolate intensities.

    Args:
        voxels: `(x, y, z)`; integers of up to 16 bits, and float32, are computed in float32, others in float64.
        places: of the new voxels along each axis, in old voxels, rising.

    Returns:
        New voxels of the same type; integers are rounded to the nearest.
    """
    kept_exactly = voxels.dtype.itemsize <= 2 or voxels.dtype == np.float32
    interpolated = _interpolated(voxels, places, np.float32 if kept_exactly else np.float64)
    if voxels.dtype.kind in "iu":
        interpolated = np.rint(interpolated, out=interpolated)
    return interpolated.astype(voxels.dtype, copy=False)


def by_label(indices: np.ndarray, places: Sequence[np.ndarray], ignored: int | None = None) -> np.ndarray:
    """Return the class whose indicator, interpolated linearly, is largest, the lowest of equals.

    Args:
        indices: `(x, y, z)`, 0 for the background.
        places: of the new voxels along each axis, in old voxels, rising.
        ignored: index of voxels that nobody labelled: a new voxel has it where they are more than half of it.
    """
    found = np.zeros([len(along) for along in places], indices.dtype)
    box = _box(indices)
    if box is None:
        return found
    reached = tuple(_reaching(along, part) for along, part in zip(places, box, strict=True))
    winner = found[reached]
    if not winner.size:
        return found
    near = [along[part] for along, part in zip(places, reached, strict=True)]
    firsts = [int(along[0]) for along in near]
    around = indices[tuple(slice(first, int(along[-1]) + 2) for first, along in zip(firsts, near, strict=True))]
    near = [along - first for along, first in zip(near, firsts, strict=True)]
    largest = _interpolated(around == 0, near, np.float64)
    labels = np.unique(around)
    for label in labels[(labels > 0) & (labels != ignored)]:
        share = _interpolated(around == label, near, np.float64)
        wins = share > largest
        winner[wins], largest[wins] = label, share[wins]
    if ignored in labels:
        winner[_interpolated(around == ignored, near, np.float64) > MOST] = ignored
    return found


def _interpolated(voxels: np.ndarray, places: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    array = voxels
    for axis, along in enumerate(places):
        below = along.astype(np.intp)
        weights: np.ndarray = (along - below).astype(dtype).reshape([-1 if other == axis else 1 for other in range(3)])
        above = np.minimum(below + 1, array.shape[axis] - 1)
        upper = np.take(array, above, axis).astype(dtype, copy=False)
        lower: np.ndarray = np.take(array, below, axis).astype(dtype, copy=False)
        upper *= weights
        lower *= 1 - weights
        lower += upper
        array = lower
    return array


def _box(indices: np.ndarray) -> tuple[slice, ...] | None:
    """The box that holds all foreground; None where there is none."""
    box = []
    for axis in range(3):
        planes = np.flatnonzero(indices.any(axis=other_axes(axis)))
        if not len(planes):
            return None
        box.append(slice(int(planes[0]), int(planes[-1]) + 1))
    return tuple(box)


def _reaching(places: np.ndarray, box: slice) -> slice:
    """The places that have a neighbour in a box."""
    return slice(int(np.searchsorted(places, box.start - 1, "right")), int(np.searchsorted(places, box.stop, "left")))
