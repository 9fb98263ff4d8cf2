"""Post-processing of a label map, class by class: fill holes, keep the largest component.

Each operation works in place, within the class's bounding box, and in memory for a slab of it. What it does to a class
depends on no other class's operations, as long as all holes are filled before any component is dropped.

Of regions (`kseg.volumes.regions`) each is post-processed as a whole, as nnU-Net does: its largest component is that of
all its labels together. What a region loses its inner regions lose, too, and its outer ones keep; a hole that it gains
its outer regions gain. So an operation may change more regions than one; they are applied in the order of the regions.
It takes a byte a voxel of the region's box.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from kseg.inference.components import BY_CORNERS, BY_FACES, SLAB_VOXELS, Components
from kseg.volumes.geometry import box_around
from kseg.volumes.regions import Structures

Operation = Literal["fill_holes", "largest_component"]


def fill_holes(labels: np.ndarray, index: int, slab_voxels: int = SLAB_VOXELS) -> None:
    """Give class `index` the background voxels that it encloses, in place.

    A hole is a part of the volume without the class from which no path by faces leads to the volume's border (as in
    `scipy.ndimage.binary_fill_holes`). Other classes in a hole stay.

    Args:
        labels: class indices (x, y, z), 0 is background.
        index: the class.
        slab_voxels: see `Components`.
    """
    box = labels[structure_box(labels, [index])]
    if not box.size:
        return
    others = Components(lambda planes: box[planes] != index, box.shape, BY_FACES, slab_voxels)
    hole = np.ones(others.count + 1, bool)
    hole[0] = False
    for planes, components in others.slabs():
        reaches_out = [components[:, [0, -1]], components[:, :, [0, -1]]]
        reaches_out += [components[0]] * (planes.start == 0) + [components[-1]] * (planes.stop == len(box))
        for face in reaches_out:
            hole[face] = False
    for planes, components in others.slabs():
        part = box[planes]
        part[hole[components] & (part == 0)] = index


def keep_largest_component(labels: np.ndarray, index: int, slab_voxels: int = SLAB_VOXELS) -> None:
    """Turn all of class `index` but its largest component into background, in place.

    Voxels of a component share faces, edges or corners (26-connectivity). Of components of one size the first in the
    order of x, y, z stays.

    Args:
        labels: class indices (x, y, z), 0 is background.
        index: the class.
        slab_voxels: see `Components`.
    """
    box = labels[structure_box(labels, [index])]
    if not box.size:
        return
    pieces = Components(lambda planes: box[planes] == index, box.shape, BY_CORNERS, slab_voxels)
    largest = 1 + np.argmax(pieces.sizes()[1:])
    for planes, components in pieces.slabs():
        box[planes][(components > 0) & (components != largest)] = 0


OPERATIONS: dict[Operation, Callable[[np.ndarray, int], None]] = {
    "fill_holes": fill_holes,
    "largest_component": keep_largest_component,
}
"""In the order in which they are applied."""


def postprocess(labels: np.ndarray, operations: Sequence[Collection[Operation]], structures: Structures) -> None:
    """Apply to each foreground class, or region, its operations, in place; all holes are filled first.

    Args:
        labels: class indices (x, y, z), 0 is background.
        operations: for class 1, 2, ..., or the first region and the others, its operations, in any order.
        structures: what classes or regions there are.
    """
    for operation in OPERATIONS:
        for number, of_structure in enumerate(operations):
            if operation in of_structure:
                apply_operation(labels, operation, number, structures)


def apply_operation(labels: np.ndarray, operation: Operation, number: int, structures: Structures) -> None:
    """Apply an operation to a structure, counted from 0, in place."""
    if not structures.overlap:
        OPERATIONS[operation](labels, number + 1)
        return
    box = labels[structure_box(labels, structures.members[number])]
    as_class, changed = np.array(structures.as_class(number)), np.array(structures.changed(number), labels.dtype)
    region = as_class.astype(np.uint8)[box]
    before = region == 1
    OPERATIONS[operation](region, 1)
    other = before != (region == 1)
    box[other] = changed[box[other]]


def structure_box(labels: np.ndarray, members: Sequence[int]) -> tuple[slice, ...]:
    """Return the smallest box (three slices) that holds all classes of `members`; an empty one where they are absent.

    Args:
        labels: class indices of any shape in three axes.
        members: indices of classes.
    """
    found = ndimage.find_objects(labels, max(members))
    return box_around(found[index - 1] for index in members)
