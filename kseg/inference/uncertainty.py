"""How sure a segmentation is of itself: how far its opinions agree, and the entropy of its probabilities.

**Agreement**, for each class, is the Dice of the masks that several opinions make of a scan with each other, over all
pairs together: what they have in common, twice, by their sizes. Opinions are members of an ensemble, or the flips of
one network (Roy et al., Bayesian QuickNAT, NeuroImage 2019, "Dice agreement in MC samples", where it is the mean of
the pairs' Dice). Where there is but one opinion it is the Dice of its mask with its own probabilities, 2 sum(p m) /
(sum(p) + sum(m)). It is between 0 and 1, and no Dice with a truth: `kseg.inference.expected_dice` says what it stands
for.

Masks are compared window by window, each voxel with its weight in the blended mask. So agreement needs no memory that
grows with the volume, and leaves the mask as it is.
"""

from collections.abc import Sequence
from math import log

import numpy as np

from kseg.inference.ensemble import Opinions
from kseg.inference.windows import Start
from kseg.volumes.geometry import Box
from kseg.volumes.regions import Members

PERCENT = 100
EVERYWHERE: Box = (slice(None), slice(None), slice(None))


class Uncertainty:
    """Listens to the segmentation of one volume.

    Args:
        num_classes: background included.
        regions: how many there are, if these are what is segmented; they may overlap.
        with_entropy: whether the entropy of every voxel is kept: a byte each.

    Example:
        Two opinions on three voxels, of which both have the first and one has the second:

        >>> import numpy as np
        >>> from kseg.inference.ensemble import Opinions
        >>> from kseg.inference.uncertainty import Uncertainty
        >>> uncertainty = Uncertainty(num_classes=2)
        >>> votes = np.array([2, 1, 0], np.uint8).reshape(1, 3, 1, 1, 1)
        >>> uncertainty.see_window((0, 0, 0), np.ones((3, 1, 1)), [Opinions(2, votes, None)], 0)
        >>> [round(value, 3) for value in uncertainty.agreement()]
        [0.667]
    """

    def __init__(self, num_classes: int, with_entropy: bool = False, regions: int = 0):
        self.num_classes = num_classes
        self.regions = regions
        self.with_entropy = with_entropy
        self.entropy: np.ndarray | None = None
        """Percent of the largest possible, uint8 `(x, y, z)`: 0 where one class is certain, 100 where all are alike.

        Of regions it is the mean of their entropies: 100 where each is as likely as not.
        """
        structures = regions or num_classes - 1
        self._common = np.zeros(structures)
        self._sizes = np.zeros(structures)
        self._masks = np.zeros(structures)
        self._seen: set[Start] = set()

    def see_window(
        self, start: Start, weights: np.ndarray, groups: Sequence[Opinions], number: int, inside: Box = EVERYWHERE
    ) -> None:
        """Compare the opinions of each group on a window; one that was seen already (`start`) counts once.

        Args:
            start: the window's first voxel in the volume.
            weights: (x, y, z), its share in each voxel.
            groups: what is said of a batch of windows.
            number: the window's place in the batch.
            inside: which of its voxels are the volume's.
        """
        if start in self._seen:
            return
        self._seen.add(start)
        flat = weights.ravel()
        for group in groups:
            for index, votes in enumerate(np.moveaxis(group.votes[number][inside], -1, 0)):
                found = votes.ravel().astype(np.float32)
                size = float(flat @ found)
                self._masks[index] += size
                if group.probabilities is None:  # k of n opinions: k (k - 1) / 2 pairs have the voxel in common
                    self._common[index] += (float(flat @ found**2) - size) / 2
                    self._sizes[index] += (group.count - 1) * size
                else:
                    shares = group.probabilities[number][inside][..., index].ravel()
                    self._common[index] += float(flat @ (found * shares))
                    self._sizes[index] += size + float(flat @ shares)

    def see_plane(self, box: Box, probabilities: np.ndarray, shape: Sequence[int]) -> None:
        """Keep the entropy of blended probabilities (x, y, z, classes) at a place of a volume (x, y, z)."""
        if not self.with_entropy:
            return
        if self.entropy is None:
            self.entropy = np.zeros(tuple(shape), np.uint8)
        if self.regions:
            of_largest = (_surprise(probabilities) + _surprise(1 - probabilities)).mean(axis=-1) / log(2)
        else:
            of_largest = _surprise(probabilities).sum(axis=-1) / log(self.num_classes)
        self.entropy[box] = np.rint(PERCENT * np.clip(of_largest, 0, 1))

    def agreement(self) -> list[float | None]:
        """Return the agreement on each foreground class; None where no opinion's mask has it."""
        return [
            min(2 * float(common) / float(size), 1.0) if mask > 0 else None
            for common, size, mask in zip(self._common, self._sizes, self._masks, strict=True)
        ]


def agreement_of_mask(indices: np.ndarray, members: Members, agreement: Sequence[float | None]) -> list[float | None]:
    """Return the agreement on each structure; None also where some opinion has it, but the mask does not.

    Args:
        indices: the mask, class indices `(x, y, z)`, all of it.
        members: the classes of each structure.
        agreement: of each structure (`Uncertainty.agreement`).
    """
    # plane by plane, because sorting takes memory
    there = {index for plane in indices for index in np.unique(plane).tolist()}
    return [value if there.intersection(own) else None for own, value in zip(members, agreement, strict=True)]


def _surprise(probabilities: np.ndarray) -> np.ndarray:
    """`-p log p` of each probability; 0 of one that is 0."""
    shares = np.clip(probabilities, np.finfo(np.float32).tiny, 1)
    return -shares * np.log(shares)
