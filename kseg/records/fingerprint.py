"""What a case looks like in numbers, measured once while it is prepared: the plan is made from these."""

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.ndimage import find_objects, generate_binary_structure, label

from kseg.recipe.types import Share
from kseg.records.intensity import Statistics, intensity_statistics
from kseg.volumes.volume import Volume

MOST_VOXELS = 2**24  # more are thinned out: for statistics, and for components


class Fingerprint(BaseModel):
    """Measurements of a case.

    `inside` and `outside` hold for each channel low, high, mean and standard deviation (`intensity_statistics`) of the
    voxels inside and outside the foreground; they are empty where there are no such voxels. `components` counts for
    each foreground class its pieces that do not touch, not even at a corner; `largest_component` is the share of the
    class's voxels in the largest of them, 0 where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    class_voxels: tuple[NonNegativeInt, ...]
    inside: tuple[Statistics, ...]
    outside: tuple[Statistics, ...]
    components: tuple[NonNegativeInt, ...]
    largest_component: tuple[Share, ...]


def take_fingerprint(image: Volume, labels: np.ndarray, class_voxels: list[int]) -> Fingerprint:
    """Measure a case.

    Memory beside the case itself is bounded: of more than `MOST_VOXELS` voxels every n-th of a plane counts for the
    intensities, and a class whose bounding box is larger is labelled on every n-th plane, row and column of it (a
    piece thinner than that can then be missed, or fall apart).

    Args:
        image: its array is `(x, y, z, channels)`.
        labels: class indices `(x, y, z)`, unsigned.
        class_voxels: voxels of each class, background first.
    """
    pieces = component_sizes(labels, len(class_voxels))
    return Fingerprint(
        shape=image.shape,
        spacing_mm=image.spacing_mm,
        class_voxels=tuple(class_voxels),
        inside=_intensities(image.array, labels, True, sum(class_voxels[1:])),
        outside=_intensities(image.array, labels, False, class_voxels[0]),
        components=tuple(len(sizes) for sizes in pieces),
        largest_component=tuple(float(sizes.max() / sizes.sum()) if len(sizes) else 0.0 for sizes in pieces),
    )


def component_sizes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return the voxels of each connected component (26 neighbours), for each foreground class of `(x, y, z)`."""
    touching = generate_binary_structure(3, 3)
    sizes = []
    for index, box in enumerate(find_objects(labels, num_classes - 1), start=1):
        if box is None:
            sizes.append(np.zeros(0, np.int64))
            continue
        window = labels[box]
        step = int(np.ceil((window.size / MOST_VOXELS) ** (1 / 3)))
        components, _ = label(window[::step, ::step, ::step] == index, touching)
        sizes.append(np.bincount(components.reshape(-1))[1:])
    return sizes


def _intensities(image: np.ndarray, labels: np.ndarray, inside: bool, count: int) -> tuple[Statistics, ...]:
    """Statistics of each channel of the `count` voxels inside, or outside, the foreground."""
    if not count:
        return ()
    step = -(-count // MOST_VOXELS)
    planes = zip(image, labels, strict=True)
    sample = np.concatenate([voxels[(indices > 0) == inside][::step] for voxels, indices in planes])
    return tuple(_short(row) for row in intensity_statistics(sample[np.newaxis, np.newaxis]))


def _short(row: np.ndarray) -> Statistics:
    """Six digits are enough, and keep the manifest readable."""
    low, high, mean, std = (float(f"{value:.6g}") for value in row)
    return low, high, mean, std
