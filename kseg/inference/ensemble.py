"""Means of probabilities: over the flips of a window, and over the members of an ensemble.

Both keep the memory of one prediction: they are taken window by window, never over volumes.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
"""Normalised patches `(n, x, y, z, channels)` float32 to their probabilities `(n, x, y, z, classes)`."""


def mean_over_flips(predict: Predict, axes: Sequence[str]) -> Predict:
    """Return a predict that averages over all combinations of flips: 2, 4 or 8 predictions for 1, 2 or 3 axes.

    Args:
        predict: voxels (n, x, y, z, channels) to probabilities (n, x, y, z, classes).
        axes: of "x", "y" and "z", those whose two sides look alike; none leaves `predict` as it is.
    """
    places = sorted({1 + "xyz".index(axis) for axis in axes})
    flips = [flipped for count in range(len(places) + 1) for flipped in combinations(places, count)]

    def flipped(flip: tuple[int, ...]) -> Predict:
        return lambda voxels: np.flip(predict(np.flip(voxels, flip)), flip)

    return mean_of([predict, *(flipped(flip) for flip in flips[1:])])


def mean_of(members: Sequence[Predict]) -> Predict:
    """Return a predict that averages those of `members`, which are asked one after another."""
    if len(members) == 1:
        return members[0]

    def mean(voxels: np.ndarray) -> np.ndarray:
        total = reduce(np.add, (member(voxels) for member in members))
        return total / np.float32(len(members))

    return mean
