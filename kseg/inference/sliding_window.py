"""Segment a volume of any size, tile by tile, in memory that depends on the patch, not on the length.

Overlapping tiles are blended with Gaussian weights of sigma = patch / 8, centred on the tile (Isensee et al.,
nnU-Net, Nature Methods 2021): a network sees least at a tile's border. The Gaussian is a product over the
axes, and the tiles form a grid. So the weights are normalised axis by axis to shares that add up to one at
every voxel, and a blended probability is a plain weighted sum: nothing to divide by, and no weight that
vanishes in a corner which only one tile reaches.

The window travels along the volume's longest axis. What it leaves behind no later tile touches: that slab is
handed out and its memory reused, so probabilities exist for one patch thickness only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from kseg.patches.grid import Start, tile_starts, tiles

Window = tuple[slice, slice, slice]
Predict = Callable[[np.ndarray], np.ndarray]
Normalise = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[Sequence[list[Start]]], Iterable[list[Start]]]


def segment(
    predict: Predict,
    image: np.ndarray,
    patch_size: Sequence[int],
    num_classes: int,
    *,
    overlap: float = 0.5,
    normalise: Normalise,
    batch_size: int = 1,
    progress: Progress = iter,
) -> np.ndarray:
    """Most probable class index of every voxel, (x, y, z), uint8 or, beyond 256 classes, uint16.

    Arguments are those of `probability_slabs`.
    """
    labels = np.empty(image.shape[:3], np.uint8 if num_classes <= 256 else np.uint16)
    slabs = probability_slabs(
        predict,
        image,
        patch_size,
        num_classes,
        overlap=overlap,
        normalise=normalise,
        batch_size=batch_size,
        progress=progress,
    )
    for window, probabilities in slabs:
        labels[window] = probabilities.argmax(axis=-1)
    return labels


def probability_slabs(
    predict: Predict,
    image: np.ndarray,
    patch_size: Sequence[int],
    num_classes: int,
    *,
    overlap: float = 0.5,
    normalise: Normalise,
    batch_size: int = 1,
    progress: Progress = iter,
) -> Iterator[tuple[Window, np.ndarray]]:
    """Blended probabilities in slabs that partition the volume, in order along its longest axis.

    Args:
        predict: (n, x, y, z, channels) float32 -> (n, x, y, z, num_classes) probabilities; x, y, z are
            `patch_size`, n is at most `batch_size`.
        image: (x, y, z, channels), any numeric dtype; only tiles of it are ever converted to float.
        patch_size: (x, y, z) voxels.
        num_classes: classes, background included.
        overlap: least share of a tile in common with the next, in [0, 1).
        normalise: float32 tile (x, y, z, channels) -> the same; it sees the volume's voxels only. A volume
            smaller than the patch is padded with zeros afterwards, in equal parts on both sides (the odd
            voxel behind), and cropped back at the end.
        batch_size: tiles a call of `predict`; batches never mix positions along the longest axis.
        progress: wraps the list of batches, for example in a progress bar.

    Yields:
        The slab's place (three slices of the volume) and its probabilities (x, y, z, num_classes) float32.
    """
    shape = image.shape[:3]
    axis = int(np.argmax(shape))
    shares = [blend_shares(n, patch, overlap) for n, patch in zip(shape, patch_size, strict=True)]
    thickness = min(patch_size[axis], shape[axis])
    # Slab axis first, so that rolling moves contiguous memory.
    rolling = np.zeros((thickness, *np.delete(shape, axis), num_classes), np.float32)
    blended = np.moveaxis(rolling, 0, axis)
    front = 0

    for batch in progress(_batches(tiles(shape, patch_size, overlap), axis, batch_size)):
        step = batch[0][axis] - front
        if step:
            yield _slab(shape, axis, front, step), np.moveaxis(rolling[:step].copy(), 0, axis)
            rolling[:-step] = rolling[step:]
            rolling[-step:] = 0
            front += step
        patches = np.stack([_cut(image, start, patch_size, normalise) for start in batch])
        for start, probabilities in zip(batch, np.asarray(predict(patches)), strict=True):
            weights = np.einsum("x,y,z->xyz", *(share[s] for share, s in zip(shares, start, strict=True)))
            place = list(_place(start, weights.shape))
            place[axis] = slice(0, thickness)
            blended[tuple(place)] += weights[..., None] * probabilities[_inside(shape, patch_size)]
    yield _slab(shape, axis, front, thickness), np.moveaxis(rolling, 0, axis)


def blend_shares(length: int, patch: int, overlap: float) -> dict[int, np.ndarray]:
    """Weights along one axis, by a tile's first voxel: float32, one for each voxel inside the volume.

    At every voxel of the axis the weights of the tiles that cover it add up to one.
    """
    extent = min(patch, length)
    distance = np.arange(extent) - (extent - 1) / 2
    gaussian = np.exp(-0.5 * (distance / (patch / 8)) ** 2)
    starts = tile_starts(length, patch, overlap)
    total = np.zeros(length)
    for start in starts:
        total[start : start + extent] += gaussian
    return {start: (gaussian / total[start : start + extent]).astype(np.float32) for start in starts}


def _batches(starts: list[Start], axis: int, batch_size: int) -> list[list[Start]]:
    """Tiles in order along `axis`, in batches whose tiles all begin at the same place of that axis."""
    batches = []
    for _, plane in groupby(sorted(starts, key=lambda start: start[axis]), key=lambda start: start[axis]):
        members = list(plane)
        batches += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    return batches


def _cut(image: np.ndarray, start: Start, patch_size: Sequence[int], normalise: Normalise) -> np.ndarray:
    """The normalised tile (x, y, z, channels), zeros where the volume is smaller than the patch."""
    tile = normalise(image[_place(start, patch_size)].astype(np.float32))
    patch = np.zeros((*patch_size, tile.shape[-1]), np.float32)
    patch[_inside(tile.shape[:3], patch_size)] = tile
    return patch


def _inside(shape: Sequence[int], patch_size: Sequence[int]) -> Window:
    """Where in a patch the volume's voxels lie: everywhere, save along axes shorter than the patch."""
    before = [max(patch - length, 0) // 2 for length, patch in zip(shape, patch_size, strict=True)]
    extents = [min(length, patch) for length, patch in zip(shape, patch_size, strict=True)]
    return _place(before, extents)


def _place(start: Sequence[int], extent: Sequence[int]) -> Window:
    x, y, z = (slice(first, first + n) for first, n in zip(start, extent, strict=True))
    return x, y, z


def _slab(shape: Sequence[int], axis: int, first: int, thickness: int) -> Window:
    start, extent = [0, 0, 0], list(shape)
    start[axis], extent[axis] = first, thickness
    return _place(start, extent)
