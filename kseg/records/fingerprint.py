"""What a case looks like in numbers, measured once while it is prepared: the plan is made from these."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.ndimage import generate_binary_structure, label

from kseg.recipe.types import ZeroToOne
from kseg.records.packed_labels import PackedLabels
from kseg.volumes.intensity_normalisation import CaseIntensities, Statistics

MAX_WINDOW_VOXELS = 2**22  # of a class's window; more are thinned out


class Fingerprint(BaseModel):
    """Measurements of a case.

    `inside` and `outside` hold for each channel low, high, mean and standard deviation (`intensity_statistics`) of the
    voxels inside and outside the foreground; they are empty where there are no such voxels. `everywhere` holds them of
    all voxels, where nobody labelled some; else it is empty, since all are inside or outside. `components` counts for
    each foreground class its pieces that do not touch, not even at a corner; `largest_component` is the share of the
    class's voxels in the largest of them, 0 where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    class_voxels: tuple[NonNegativeInt, ...]
    inside: tuple[Statistics, ...]
    outside: tuple[Statistics, ...]
    everywhere: tuple[Statistics, ...] = ()
    components: tuple[NonNegativeInt, ...]
    largest_component: tuple[ZeroToOne, ...]

    @property
    def partly_labelled(self) -> bool:
        """Whether the case has voxels that nobody labelled."""
        return sum(self.class_voxels) < math.prod(self.shape)


def take_fingerprint(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    labels: PackedLabels,
    intensities: CaseIntensities,
    pieces: Sequence[np.ndarray],
) -> Fingerprint:
    """Put together what was measured of a case of `shape` (x, y, z), and the `foreground_pieces` of its labels."""
    return Fingerprint(
        shape=shape,
        spacing_mm=spacing_mm,
        class_voxels=tuple(labels.class_voxels),
        inside=tuple(_short(row) for row in intensities.of_foreground(True)),
        outside=tuple(_short(row) for row in intensities.of_foreground(False)),
        everywhere=tuple(_short(row) for row in intensities.statistics()) if labels.partly_labelled else (),
        components=tuple(len(sizes) for sizes in pieces),
        largest_component=tuple(float(sizes.max() / sizes.sum()) if len(sizes) else 0.0 for sizes in pieces),
    )


def foreground_pieces(labels: PackedLabels) -> list[np.ndarray]:
    """Return the `component_sizes` of each foreground class.

    Memory is bounded: of a class that spreads over more than `MAX_WINDOW_VOXELS` voxels the components are looked for
    on every n-th plane, row and column (a piece thinner than that can then be missed, or fall apart).
    """
    return [component_sizes(labels, index) for index in range(1, len(labels.counts))]


def component_sizes(labels: PackedLabels, index: int) -> np.ndarray:
    """Return the voxels of each connected component (26 neighbours) of class `index`."""
    window = labels.window(index, MAX_WINDOW_VOXELS)
    if window is None:
        return np.zeros(0, np.int64)
    components, count = label(window, generate_binary_structure(3, 3))
    return np.bincount(components.reshape(-1), minlength=count + 1)[1:]


def _short(row: np.ndarray) -> Statistics:
    """Six digits are enough, and keep the manifest readable."""
    low, high, mean, std = (float(f"{value:.6g}") for value in row)
    return low, high, mean, std
