"""Regions: structures that may overlap, each of which is several labels together.

A whole tumour is oedema, core and enhancing part; its core is the latter two. Label maps stay label maps: a network
marks each region by itself, and regions are written into a mask one after another, each its own label over those of
the regions before (nnU-Net's region-based training; Isensee et al., nnU-Net for Brain Tumor Segmentation, BrainLes
2020).

Labels are told apart by the regions that they are in. So regions must be such that every label, taken for the regions
that it is in and written again, is in the same ones: else the truth itself could not be written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from kseg.console.errors import InputError

THRESHOLD = 0.5
"""A voxel is in a region if its probability is above."""
Members = tuple[tuple[int, ...], ...]
"""Of each structure, the indices of the classes that it consists of."""


class Region(BaseModel):
    """A structure that consists of one or several labels, by their names, and the one that it is written as."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    labels: tuple[str, ...]
    writes: str

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.name} ({' + '.join(self.labels)}, written as {self.writes})"


@dataclass(frozen=True)
class Structures:
    """What the maps of a network's probabilities stand for, in class indices; 0 is the background.

    Without `regions` they are classes that exclude each other, a map for each of `num_classes`, the background among
    them. With regions there is a map for each, in the order in which they are written; `written` are their labels.

    Example:
        A tumour, and its core within it; in the first voxel there is neither, in the last both:

        >>> import numpy as np
        >>> from kseg.volumes.regions import Structures
        >>> tumour = Structures(num_classes=3, regions=((1, 2), (2,)), written=(1, 2))
        >>> tumour.class_indices(np.array([[0.1, 0.2], [0.9, 0.2], [0.9, 0.8]])).tolist()
        [0, 1, 2]
        >>> tumour.marks(np.array([0, 1, 2]), 0).tolist()
        [False, True, True]
    """

    num_classes: int
    regions: Members = ()
    written: tuple[int, ...] = ()

    @property
    def overlap(self) -> bool:
        """Whether a voxel may be in several."""
        return bool(self.regions)

    @property
    def num_maps(self) -> int:
        """Maps of a probability."""
        return len(self.regions) or self.num_classes

    @property
    def count(self) -> int:
        """Structures: regions, or classes without the background."""
        return len(self.regions) or self.num_classes - 1

    @property
    def members(self) -> Members:
        """Class indices of each structure."""
        return self.regions or tuple((index,) for index in range(1, self.num_classes))

    def class_indices(self, probabilities: Any, library: Any = np) -> Any:
        """Return the class of each voxel `(...)` for probabilities `(..., maps)`.

        Of classes that exclude each other it is the most probable, the first of equals.

        Args:
            probabilities: an array, or a tensor of `library`.
            library: `numpy`, or another with its functions: `tensorflow`, `keras.ops`.
        """
        if not self.regions:
            return library.argmax(probabilities, axis=-1)
        indices: Any = 0
        for number, label in enumerate(self.written):
            indices = library.where(probabilities[..., number] > THRESHOLD, label, indices)
        return indices

    def marks(self, indices: np.ndarray, number: int) -> np.ndarray:
        """Return where a structure is, Boolean, for class indices of any shape; `number` counts from 0."""
        return marks(indices, self.members[number])

    def as_class(self, number: int) -> tuple[int, ...]:
        """Return for each class 1 where a region has it, 0 where the region may be given to it, else 2."""
        changed = self.changed(number)
        return tuple(
            1 if index in self.regions[number] else 2 if changed[index] == index else 0
            for index in range(self.num_classes)
        )

    def changed(self, number: int) -> tuple[int, ...]:
        """Return what a voxel of each class becomes where a region is taken away from it, or given to it.

        What is taken away takes along the regions that lie within; the rest stays what it is. What is given lies in all
        regions around, too; a voxel whose regions no label has together keeps its own.

        Args:
            number: of the region, from 0.
        """
        within, around = set[int](), set[int]()
        own = set(self.regions[number])
        for other, classes in enumerate(self.regions):
            if own.issuperset(classes):
                within.add(other)
            if own.issubset(classes):
                around.add(other)
        became = []
        for index in range(self.num_classes):
            now = self._regions_of(index)
            after = now - within if number in now else now | around
            written = self._written(after)
            fits = self._regions_of(written) == after
            became.append(written if fits else 0 if number in now else index)
        return tuple(became)

    def unfaithful(self) -> tuple[int, int] | None:
        """Return a class that is not in the regions of what is written for it, and that; None where there is none."""
        for index in range(1, self.num_classes):
            written = self._written(self._regions_of(index))
            if self._regions_of(written) != self._regions_of(index):
                return index, written
        return None

    def _regions_of(self, index: int) -> set[int]:
        return {number for number, classes in enumerate(self.regions) if index in classes}

    def _written(self, regions: set[int]) -> int:
        return self.written[max(regions)] if regions else 0


def marks(indices: Any, members: Sequence[int]) -> Any:
    """Return where class indices of any shape are one of `members`, Boolean; of arrays or tensors alike."""
    return reduce(lambda one, other: one | other, (indices == index for index in members))


def regions_by_name(given: Mapping[str, Sequence[str]], names: Sequence[str]) -> tuple[Region, ...]:
    """Return the regions that a recipe names, in the order in which they are written, with what each is written as.

    A region comes after those that it lies in, and is written as the label that is in it and in no other region but
    these; of several such labels as the first that it names.

    Args:
        given: region -> its labels.
        names: of all labels, the background first.
    """
    inner_last = sorted(given, key=lambda name: -len(set(given[name])))
    regions = []
    for name in inner_last:
        own = set(given[name])
        others = [set(labels) for labels in given.values() if not own.issubset(labels)]
        alone = [label for label in given[name] if not any(label in labels for labels in others)]
        regions.append(Region(name=name, labels=tuple(given[name]), writes=(*alone, *given[name], names[0])[0]))
    return tuple(regions)


def structures_of(names: Sequence[str], regions: Sequence[Region]) -> Structures:
    """Return the structures of a label map: its classes by name, the background first, or its regions.

    Raises:
        InputError: a region is none, or the regions cannot tell the labels apart.
    """
    if not regions:
        return Structures(len(names))
    known = ", ".join(names[1:])
    for region in regions:
        what = f"region '{region.name}'"
        if not region.labels:
            raise InputError(f"{what} names no label: give it some of {known}, or leave it out")
        if names[0] in region.labels:
            raise InputError(f"{what} has the background '{names[0]}', which is what is in no region: leave it out")
        if unknown := [label for label in (*region.labels, region.writes) if label not in names]:
            raise InputError(f"{what} has the label '{unknown[0]}', which there is not: known are {known}")
        if len(set(region.labels)) < len(region.labels):
            raise InputError(f"{what} names a label twice ({', '.join(region.labels)}): name it once")
    for one, other in combinations(regions, 2):
        if one.name == other.name:
            raise InputError(f"there are two regions '{one.name}': give each a name of its own")
        if set(one.labels) == set(other.labels):
            raise InputError(f"regions '{one.name}' and '{other.name}' have the same labels: keep one of them")
    if left := [name for name in names[1:] if not any(name in region.labels for region in regions)]:
        raise InputError(
            f"label '{left[0]}' is in no region: put it into one, make it one of its own, or leave it out with "
            "data.classes"
        )
    index_of = {name: index for index, name in enumerate(names)}
    structures = Structures(
        len(names),
        tuple(tuple(sorted(index_of[label] for label in region.labels)) for region in regions),
        tuple(index_of[region.writes] for region in regions),
    )
    if wrong := structures.unfaithful():
        lost, written = (names[index] for index in wrong)
        of_lost = [region.name for region in regions if lost in region.labels]
        raise InputError(
            f"label '{lost}', which is in {' and '.join(of_lost)}, would come back as '{written}', which is not in the "
            f"same regions: write outer regions before inner ones, or add a region that has '{lost}' alone"
        )
    return structures
