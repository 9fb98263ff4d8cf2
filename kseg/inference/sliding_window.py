"""Segment a volume of any size, window by window, in memory that depends on neither its length nor its classes.

Overlapping windows are blended with Gaussian weights of sigma = patch / 8, centred on the window (Isensee et al.,
nnU-Net, Nature Methods 2021): a network sees least at a window's border. The Gaussian is a product over the
axes, and the windows form a grid. So the weights are normalised axis by axis to shares that add up to one at
every voxel, and a blended probability is a plain weighted sum: nothing to divide by, and no weight that
vanishes in a corner which only one window reaches.

A buffer travels along the volume's longest axis. What it leaves behind no later window touches: these planes are
handed out and their memory is used again, so that probabilities exist for one patch thickness only
(`kseg.inference.blend_buffer`). Where even that is too much, the planes are cut into columns, swept one after
another. Tiles keep their places; those that lie in two columns are predicted twice, with the same result.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from kseg.inference.blend_buffer import BlendBuffer
from kseg.inference.ensemble import Ensemble, Opinions, Predict
from kseg.inference.predictor import Progress
from kseg.inference.uncertainty import Uncertainty
from kseg.inference.window_columns import cut_columns, touches
from kseg.inference.windows import Start, window_starts, windows
from kseg.storage.read_ahead import read_ahead
from kseg.volumes.geometry import Box
from kseg.volumes.labels import index_dtype
from kseg.volumes.regions import Structures

Normalise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Tiles that are predicted at once: first voxels (x, y, z), and the column that their result goes to."""

    column: Box
    starts: tuple[Start, ...]


def segment(
    predict: Predict,
    image: np.ndarray,
    patch_size: Sequence[int],
    structures: Structures,
    *,
    overlap: float = 0.5,
    normalise: Normalise,
    buffer_bytes: int,
    batch_size: int = 1,
    progress: Progress = iter,
    uncertainty: Uncertainty | None = None,
) -> np.ndarray:
    """Class index of every voxel, (x, y, z), of the type `index_dtype`.

    `structures` say which it is by the probabilities of their maps; other arguments are those of `probability_planes`.
    """
    labels = np.empty(image.shape[:3], index_dtype(structures.num_classes))
    planes = probability_planes(
        predict,
        image,
        patch_size,
        structures.num_maps,
        overlap=overlap,
        normalise=normalise,
        batch_size=batch_size,
        buffer_bytes=buffer_bytes,
        progress=progress,
        uncertainty=uncertainty,
    )
    for box, probabilities in planes:
        labels[box] = structures.class_indices(probabilities)
        if uncertainty:
            uncertainty.see_plane(box, probabilities, image.shape[:3])
    return labels


def probability_planes(
    predict: Predict,
    image: np.ndarray,
    patch_size: Sequence[int],
    num_classes: int,
    *,
    overlap: float = 0.5,
    normalise: Normalise,
    buffer_bytes: int,
    batch_size: int = 1,
    progress: Progress = iter,
    uncertainty: Uncertainty | None = None,
) -> Iterator[tuple[Box, np.ndarray]]:
    """Blended probabilities in planes across the longest axis that together make up the volume.

    A voxel's windows are added up in one order, that of their first voxels, whatever the batches and columns are.

    Args:
        predict: (n, x, y, z, channels) float32 -> (n, x, y, z, num_classes) probabilities; x, y, z are
            `patch_size`, n is at most `batch_size`.
        image: (x, y, z, channels), any numeric dtype; only windows of it are ever converted to float.
        patch_size: (x, y, z) voxels.
        num_classes: maps of a probability: classes, background included, or regions.
        overlap: least share of a window in common with the next, in [0, 1).
        normalise: float32 window (x, y, z, channels) -> the same; it sees the volume's voxels only. A volume
            smaller than the patch is padded with zeros afterwards, in equal parts on both sides (the odd
            voxel behind), and cropped back at the end.
        batch_size: windows a call of `predict`; batches never mix positions along the longest axis.
        buffer_bytes: most memory for blended probabilities, unless columns as narrow as a window's step need more.
        progress: wraps the list of batches, for example in a progress bar.
        uncertainty: is told of each window, and what each opinion of an `Ensemble` says of it.

    Yields:
        The plane's place (three slices of the volume) and its probabilities (x, y, z, num_classes) float32.
    """
    shape = image.shape[:3]
    axis = int(np.argmax(shape))
    shares = [blend_shares(n, patch, overlap) for n, patch in zip(shape, patch_size, strict=True)]
    extents = [min(n, patch) for n, patch in zip(shape, patch_size, strict=True)]
    starts = sorted(windows(shape, patch_size, overlap), key=lambda start: (start[axis], start))
    max_voxels = buffer_bytes // (num_classes * np.dtype(np.float32).itemsize)
    columns = cut_columns(shape, extents, [list(share) for share in shares], axis, max_voxels)
    batches = [
        batch
        for column in columns
        for batch in _batches(column, [s for s in starts if touches(s, extents, column)], axis, batch_size)
    ]
    patches = read_ahead(np.stack([_cut(image, start, patch_size, normalise) for start in b.starts]) for b in batches)
    answers = read_ahead(_asked(predict, batch, uncertainty is not None) for batch in patches)
    inside = _inside(shape, patch_size)
    buffer = None
    for column, members in groupby(progress(batches), key=lambda batch: batch.column):
        del buffer  # else it would stay in memory until the next is made
        buffer = BlendBuffer(column, axis, extents[axis], num_classes)
        for batch in members:
            yield from buffer.finished(batch.starts[0][axis])
            mean, opinions = next(answers)
            for number, start in enumerate(batch.starts):
                weights = np.einsum("x,y,z->xyz", *(share[s] for share, s in zip(shares, start, strict=True)))
                buffer.add(start, weights, mean[number][inside])
                if uncertainty:
                    uncertainty.see_window(start, weights, opinions, number, inside)
        yield from buffer.finished(shape[axis])


def _asked(predict: Predict, patches: np.ndarray, with_opinions: bool) -> tuple[np.ndarray, list[Opinions]]:
    """Return the probabilities of a batch, and where they are wanted the opinions behind them."""
    if not with_opinions:
        return np.asarray(predict(patches)), []
    ensemble = predict if isinstance(predict, Ensemble) else Ensemble(((predict,),))
    return ensemble.with_opinions(patches)


def blend_shares(length: int, patch: int, overlap: float) -> dict[int, np.ndarray]:
    """Weights along one axis, by a window's first voxel: float32, one for each voxel inside the volume.

    At every voxel of the axis the weights of the windows that cover it add up to one.
    """
    extent = min(patch, length)
    distance = np.arange(extent) - (extent - 1) / 2
    gaussian = np.exp(-0.5 * (distance / (patch / 8)) ** 2)
    starts = window_starts(length, patch, overlap)
    total = np.zeros(length)
    for start in starts:
        total[start : start + extent] += gaussian
    return {start: (gaussian / total[start : start + extent]).astype(np.float32) for start in starts}


def _batches(column: Box, starts: list[Start], axis: int, batch_size: int) -> Iterator[Batch]:
    """Windows in order along `axis`, in batches whose windows all begin at the same place of that axis."""
    for _, plane in groupby(starts, key=lambda start: start[axis]):
        members = tuple(plane)
        for first in range(0, len(members), batch_size):
            yield Batch(column, members[first : first + batch_size])


def _cut(image: np.ndarray, start: Start, patch_size: Sequence[int], normalise: Normalise) -> np.ndarray:
    """The normalised window (x, y, z, channels), zeros where the volume is smaller than the patch."""
    window = normalise(image[_place(start, patch_size)].astype(np.float32))
    patch = np.zeros((*patch_size, window.shape[-1]), np.float32)
    patch[_inside(window.shape[:3], patch_size)] = window
    return patch


def _inside(shape: Sequence[int], patch_size: Sequence[int]) -> Box:
    """Where in a patch the volume's voxels lie: everywhere, save along axes shorter than the patch."""
    before = [max(patch - length, 0) // 2 for length, patch in zip(shape, patch_size, strict=True)]
    extents = [min(length, patch) for length, patch in zip(shape, patch_size, strict=True)]
    return _place(before, extents)


def _place(start: Sequence[int], extent: Sequence[int]) -> Box:
    x, y, z = (slice(first, first + n) for first, n in zip(start, extent, strict=True))
    return x, y, z
