"""Means of probabilities: over the flips of a window, and over the members of an ensemble.

Both keep the memory of one prediction: they are taken window by window, never over volumes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from kseg.volumes.regions import THRESHOLD

Predict = Callable[[np.ndarray], np.ndarray]
"""Normalised patches `(n, x, y, z, channels)` float32 to their probabilities `(n, x, y, z, classes)`."""


@dataclass(frozen=True)
class Opinions:
    """What a group of opinions says of a batch of windows.

    `votes` are how many of the group's `count` opinions have each foreground class most probable, or hold a voxel to be
    in each region, uint8 `(n, x, y, z, classes - 1)`; `probabilities` `(n, x, y, z, classes - 1)`, of the same, are
    kept of a single opinion.
    """

    count: int
    votes: np.ndarray
    probabilities: np.ndarray | None


@dataclass(frozen=True)
class Ensemble:
    """A `Predict` that is the mean of several, and tells what they say.

    Args:
        groups: opinions that may be compared with each other. Folds of a cross-validation are a group each, of their
            flips: no case is new to all of them at once, so that nothing could say what their agreement is worth.
            Groups have equally many opinions.
        overlap: whether probabilities are those of regions, which may overlap.
    """

    groups: tuple[tuple[Predict, ...], ...]
    overlap: bool = False

    def __call__(self, voxels: np.ndarray) -> np.ndarray:
        """Return the mean of all opinions `(n, x, y, z, classes)`."""
        total = reduce(np.add, (predict(voxels) for group in self.groups for predict in group))
        return self._mean(total)

    def with_opinions(self, voxels: np.ndarray) -> tuple[np.ndarray, list[Opinions]]:
        """Return the same mean, and what each group says; of several opinions no probabilities are kept."""
        total, heard = np.float32(0), []
        for group in self.groups:
            votes = np.uint8(0)
            for predict in group:
                probabilities = np.asarray(predict(voxels))
                votes = votes + self._votes(probabilities)
                total = total + probabilities
            of_structures = probabilities if self.overlap else probabilities[..., 1:]
            heard.append(Opinions(len(group), votes, of_structures if len(group) == 1 else None))
        return self._mean(total), heard

    def _votes(self, probabilities: np.ndarray) -> np.ndarray:
        if self.overlap:
            return probabilities > THRESHOLD
        mask = probabilities.argmax(axis=-1)
        return np.stack([mask == index for index in range(1, probabilities.shape[-1])], axis=-1)

    def _mean(self, total: np.ndarray) -> np.ndarray:
        count = sum(map(len, self.groups))
        return total / np.float32(count) if count > 1 else total


def flips_of(predict: Predict, axes: Sequence[str]) -> tuple[Predict, ...]:
    """Return `predict` of windows flipped in all combinations of axes: 1, 2, 4 or 8 for none to 3 axes.

    Args:
        predict: voxels (n, x, y, z, channels) to probabilities (n, x, y, z, classes).
        axes: of "x", "y" and "z", those whose two sides look alike.
    """
    places = sorted({1 + "xyz".index(axis) for axis in axes})
    flips = [flipped for count in range(len(places) + 1) for flipped in combinations(places, count)]

    def flipped(flip: tuple[int, ...]) -> Predict:
        return lambda voxels: np.flip(predict(np.flip(voxels, flip)), flip)

    return predict, *(flipped(flip) for flip in flips[1:])


def ensemble_of(
    members: Sequence[Predict], flip_axes: Sequence[str], compared: bool, overlap: bool = False
) -> Ensemble:
    """Return the mean over members and the flips of each.

    Args:
        members: networks, one or more, which are asked one after another.
        flip_axes: see `flips_of`.
        compared: whether what members say may be compared; else, and of one member, flips are.
        overlap: whether probabilities are those of regions, which may overlap.
    """
    by_member = [flips_of(member, flip_axes) for member in members]
    if len(members) == 1 or not compared:
        return Ensemble(tuple(by_member), overlap)
    means = tuple(flips[0] if len(flips) == 1 else Ensemble((flips,)) for flips in by_member)
    return Ensemble((means,), overlap)
