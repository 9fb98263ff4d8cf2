"""Post-processing of a label map, class by class: fill holes, keep the largest component.

Each operation works in place, within the class's bounding box, and in memory for a slab of it. What it does to a class
depends on no other class's operations, as long as all holes are filled before any component is dropped.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from kseg.inference.components import BY_CORNERS, BY_FACES, SLAB_VOXELS, Components

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
    box = labels[class_box(labels, index)]
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
    box = labels[class_box(labels, index)]
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


def postprocess(labels: np.ndarray, operations: Sequence[Collection[Operation]]) -> None:
    """Apply to each foreground class its operations, in place; all classes' holes are filled first.

    Args:
        labels: class indices (x, y, z), 0 is background.
        operations: for class 1, 2, ... its operations, in any order.
    """
    for operation, apply in OPERATIONS.items():
        for index, of_class in enumerate(operations, start=1):
            if operation in of_class:
                apply(labels, index)


def class_box(labels: np.ndarray, index: int) -> tuple[slice, ...]:
    """Return the smallest box (three slices) that holds all of class `index`; an empty one where it is absent."""
    return ndimage.find_objects(labels, index)[index - 1] or (slice(0, 0),) * 3
