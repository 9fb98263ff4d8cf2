"""How sure a segmentation is of itself: how far its opinions agree, and the entropy of its probabilities.

**Agreement**, for each class, is the mean pairwise Dice of the masks that several opinions make of a scan: members of
an ensemble, or the flips of one network (Roy et al., Bayesian QuickNAT, NeuroImage 2019, "Dice agreement in MC
samples"). Where there is but one opinion it is the Dice of its mask with its own probabilities, 2 sum(p m) / (sum(p) +
sum(m)). It is between 0 and 1, and no Dice with a truth: `kseg.inference.expected_dice` says what it stands for.

Masks are compared window by window, each voxel with its weight in the blended mask. So agreement needs no memory that
grows with the volume, and leaves the mask as it is.
"""

from collections.abc import Sequence
from itertools import combinations
from math import log

import numpy as np

from kseg.inference.windows import Start
from kseg.volumes.geometry import Box

PERCENT = 100


class Uncertainty:
    """Listens to the segmentation of one volume.

    Args:
        num_classes: background included.
        with_entropy: whether the entropy of every voxel is kept: a byte each.

    Example:
        >>> import numpy as np
        >>> from kseg.inference.uncertainty import Uncertainty
        >>> uncertainty = Uncertainty(2)
        >>> first = np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]).reshape(3, 1, 1, 2)
        >>> second = np.array([[0.1, 0.9], [0.7, 0.3], [0.9, 0.1]]).reshape(3, 1, 1, 2)
        >>> uncertainty.see_window((0, 0, 0), np.ones((3, 1, 1)), [[first, second]])
        >>> [round(value, 3) for value in uncertainty.agreement()]
        [0.667]
    """

    def __init__(self, num_classes: int, with_entropy: bool = False):
        self.num_classes = num_classes
        self.with_entropy = with_entropy
        self.entropy: np.ndarray | None = None
        """Percent of the largest possible, uint8 `(x, y, z)`: 0 where one class is certain, 100 where all are alike."""
        self._common = np.zeros(num_classes)
        self._sizes = np.zeros(num_classes)
        self._seen: set[Start] = set()

    def see_window(self, start: Start, weights: np.ndarray, groups: Sequence[Sequence[np.ndarray]]) -> None:
        """Compare the opinions of each group on a window; one that was seen already (`start`) counts once.

        Args:
            start: the window's first voxel in the volume.
            weights: (x, y, z), its share in each voxel.
            groups: probabilities (x, y, z, classes) of each opinion.
        """
        if start in self._seen:
            return
        self._seen.add(start)
        flat = weights.ravel()
        for group in groups:
            masks = [opinion.argmax(axis=-1).ravel() for opinion in group]
            if len(masks) == 1:
                self._compare_with_itself(group[0].reshape(-1, self.num_classes), masks[0], flat)
            for one, other in combinations(masks, 2):
                pairs = np.bincount(one * self.num_classes + other, flat, self.num_classes**2)
                table = pairs.reshape(self.num_classes, self.num_classes)
                self._common += table.diagonal()
                self._sizes += table.sum(axis=0) + table.sum(axis=1)

    def see_plane(self, box: Box, probabilities: np.ndarray, shape: Sequence[int]) -> None:
        """Keep the entropy of blended probabilities (x, y, z, classes) at a place of a volume (x, y, z)."""
        if not self.with_entropy:
            return
        if self.entropy is None:
            self.entropy = np.zeros(tuple(shape), np.uint8)
        shares = np.clip(probabilities, np.finfo(np.float32).tiny, 1)
        of_largest = -(shares * np.log(shares)).sum(axis=-1) / log(self.num_classes)
        self.entropy[box] = np.rint(PERCENT * np.clip(of_largest, 0, 1))

    def agreement(self) -> list[float | None]:
        """Return the agreement on each foreground class; None where no opinion has it."""
        return [
            2 * float(common) / float(size) if size > 0 else None
            for common, size in zip(self._common[1:], self._sizes[1:], strict=True)
        ]

    def _compare_with_itself(self, probabilities: np.ndarray, mask: np.ndarray, weights: np.ndarray) -> None:
        own = np.take_along_axis(probabilities, mask[:, None], axis=-1)[:, 0]
        self._common += np.bincount(mask, weights * own, self.num_classes)
        self._sizes += np.bincount(mask, weights, self.num_classes) + weights @ probabilities
