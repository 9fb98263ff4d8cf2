"""`kseg.inference.postprocessing` as a graph: connected components by runs, in memory for a plane and for all runs.

A run is a row of voxels of the mask along z, as long as may be. Runs are numbered as a pass meets them; two are joined
where voxels of theirs are neighbours. Components are found in that graph of runs: each run takes the lowest number in
reach, by hooking a root to a lower one and jumping to the root's root, until nothing changes. A second pass numbers the
runs again and changes the voxels of those that it should.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kseg.deployment.serving.graph_loops import accumulate, for_each
from kseg.inference.postprocessing import OPERATIONS, Operation
from kseg.volumes.geometry import other_axes
from kseg.volumes.regions import Structures

Mask = Callable[[Any], tf.Tensor]
"""A plane's number x -> the mask (y, z) in it, Boolean."""

BY_FACES = (((1, 0),), ((0, 0),))
BY_CORNERS = (
    tuple((1, dz) for dz in (-1, 0, 1)),
    tuple((dy, dz) for dy in (-1, 0, 1) for dz in (-1, 0, 1)),
)
"""Where a voxel's neighbours lie, (y, z): those in its own plane, and those in the plane before; the rest follows."""

NOBODY = tf.int32.min


def graph_postprocess(
    labels: tf.Tensor, operations: Sequence[Collection[Operation]], structures: Structures
) -> tf.Tensor:
    """Return class indices `(x, y, z)` after the operations of each class or region, as `postprocess` does."""
    for operation in OPERATIONS:
        chosen = [number for number, of_structure in enumerate(operations) if operation in of_structure]
        if chosen and structures.overlap:
            labels = _of_regions(labels, chosen, structures, CHANGES[operation])
        elif chosen:
            classes = tf.constant([number + 1 for number in chosen], labels.dtype)
            labels = _of_classes(labels, classes, CHANGES[operation])
    return labels


def _of_regions(
    labels: tf.Tensor, chosen: Sequence[int], structures: Structures, change: Callable[[tf.Tensor, Any], tf.Tensor]
) -> tf.Tensor:
    as_class = tf.constant([structures.as_class(number) for number in chosen], labels.dtype)
    changed = tf.constant([structures.changed(number) for number in chosen], labels.dtype)
    planes, inside = tf.shape(labels)[0], tf.constant(1, labels.dtype)

    def of_plane(table: tf.Tensor, plane: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.cast(plane, tf.int32))

    def of_region(n: Any, labels: tf.Tensor) -> tf.Tensor:
        before = for_each(planes, lambda x: of_plane(as_class[n], labels[x]), labels.dtype)
        after = _in_box(before, inside, change)

        def written(x: Any) -> tf.Tensor:
            other = tf.not_equal(tf.equal(before[x], inside), tf.equal(after[x], inside))
            return tf.where(other, of_plane(changed[n], labels[x]), labels[x])

        return for_each(planes, written, labels.dtype)

    return accumulate(len(chosen), labels, of_region)


def _of_classes(labels: tf.Tensor, chosen: tf.Tensor, change: Callable[[tf.Tensor, Any], tf.Tensor]) -> tf.Tensor:
    return accumulate(tf.size(chosen), labels, lambda n, labels: _in_box(labels, chosen[n], change))


def _in_box(labels: tf.Tensor, index: Any, change: Callable[[tf.Tensor, Any], tf.Tensor]) -> tf.Tensor:
    """Labels after a change to the box that holds all of a class."""
    mask = tf.equal(labels, index)
    sides = [tf.where(tf.reduce_any(mask, other_axes(axis)))[:, 0] for axis in range(3)]

    def changed() -> tf.Tensor:
        first = tf.cast(tf.stack([side[0] for side in sides]), tf.int32)
        extent = tf.cast(tf.stack([side[-1] for side in sides]), tf.int32) + 1 - first
        box = change(tf.slice(labels, first, extent), index)
        around = tf.stack([first, tf.shape(labels) - first - extent], 1)
        inside = tf.pad(tf.ones(extent, tf.bool), around)
        return tf.where(inside, tf.pad(box, around), labels)

    return tf.cond(tf.size(sides[0]) > 0, changed, lambda: labels)


def _fill_holes(box: tf.Tensor, index: Any) -> tf.Tensor:
    runs = _find_runs(lambda x: tf.not_equal(box[x], index), tf.shape(box), BY_FACES)
    roots = _components(runs)
    count = tf.size(roots)
    reaches_out = tf.math.unsorted_segment_max(tf.cast(runs.at_border, tf.int32), roots, count)
    hole = tf.equal(tf.gather(reaches_out, roots), 0)

    def fill(plane: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return tf.where(chosen & tf.equal(plane, 0), index, plane)

    return _change(box, lambda x: tf.not_equal(box[x], index), runs.firsts, hole, fill)


def _keep_largest(box: tf.Tensor, index: Any) -> tf.Tensor:
    runs = _find_runs(lambda x: tf.equal(box[x], index), tf.shape(box), BY_CORNERS)
    roots = _components(runs)
    sizes = tf.math.unsorted_segment_sum(runs.sizes, roots, tf.size(roots))
    # A component has the number of its first run, and the first of equals is the largest.
    largest = tf.cast(tf.where(tf.equal(sizes, tf.reduce_max(sizes)))[0, 0], tf.int32)

    def drop(plane: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return tf.where(chosen, tf.zeros_like(plane), plane)

    return _change(box, lambda x: tf.equal(box[x], index), runs.firsts, tf.not_equal(roots, largest), drop)


CHANGES: dict[Operation, Callable[[tf.Tensor, Any], tf.Tensor]] = {
    "fill_holes": _fill_holes,
    "largest_component": _keep_largest,
}


class _Runs(NamedTuple):
    """Runs of a mask, in the order of their first voxels in x, y, z."""

    sizes: tf.Tensor
    """Voxels, int64 (runs,)."""
    at_border: tf.Tensor
    """Whether one of them is a voxel of the volume's border, Boolean (runs,)."""
    joined: tf.Tensor
    """Pairs of runs with neighbouring voxels, int32 (pairs, 2)."""
    firsts: tf.Tensor
    """The number of each plane's first run, int32 (x,)."""


def _find_runs(mask: Mask, shape: tf.Tensor, neighbours: Any) -> _Runs:
    planes, rows, columns = tf.unstack(shape)
    in_plane, in_plane_before = neighbours

    def add(x: Any, state: Any) -> Any:
        count, before, sizes, border, joined, firsts = state
        here = mask(x)
        numbers = _numbered(here, count)
        first = tf.where(_beginnings(here))
        last = tf.where(tf.reverse(_beginnings(tf.reverse(here, [1])), [1]))
        y, z = tf.unstack(tf.cast(first, tf.int32), axis=1)
        stop = tf.cast(last[:, 1], tf.int32)
        outermost = tf.equal(x, 0) | tf.equal(x, planes - 1) | tf.equal(y, 0) | tf.equal(y, rows - 1)
        pairs = [_meetings(numbers, numbers, *offset) for offset in in_plane]
        pairs += [_meetings(before, numbers, *offset) for offset in in_plane_before]
        return (
            count + tf.size(y),
            numbers,
            sizes.write(x, tf.cast(stop - z + 1, tf.int64)),
            border.write(x, outermost | tf.equal(z, 0) | tf.equal(stop, columns - 1)),
            joined.write(x, tf.concat(pairs, 0)),
            firsts.write(x, [count]),
        )

    def pieces(dtype: tf.DType, element_shape: list[int | None]) -> tf.TensorArray:
        return tf.TensorArray(dtype, planes, infer_shape=False, element_shape=element_shape)

    arrays = pieces(tf.int64, [None]), pieces(tf.bool, [None]), pieces(tf.int32, [None, 2]), pieces(tf.int32, [1])
    _, _, *found = accumulate(planes, (tf.constant(0), tf.fill([rows, columns], NOBODY), *arrays), add)
    return _Runs(*(array.concat() for array in found))


def _numbered(mask: tf.Tensor, first: Any) -> tf.Tensor:
    """The number of each voxel's run (y, z) int32, from `first` on; `NOBODY` outside the mask."""
    number = tf.cumsum(tf.reshape(tf.cast(_beginnings(mask), tf.int32), [-1])) - 1 + first
    return tf.where(mask, tf.reshape(number, tf.shape(mask)), NOBODY)


def _beginnings(mask: tf.Tensor) -> tf.Tensor:
    return mask & ~tf.pad(mask[:, :-1], [[0, 0], [1, 0]])


def _meetings(one: tf.Tensor, other: tf.Tensor, dy: int, dz: int) -> tf.Tensor:
    """The runs of two planes (y, z) that meet where the one lies (dy, dz) before the other, int32 (pairs, 2)."""
    for axis, step in enumerate((dy, dz)):
        front, behind = [slice(None)] * 2, [slice(None)] * 2
        if step:
            front[axis], behind[axis] = slice(None, -1), slice(1, None)
            front, behind = (front, behind) if step > 0 else (behind, front)
        one, other = one[tuple(front)], other[tuple(behind)]
    # Two runs meet in one piece, whose first voxel stands for it.
    meeting = _beginnings(tf.not_equal(one, NOBODY) & tf.not_equal(other, NOBODY))
    return tf.stack([tf.boolean_mask(one, meeting), tf.boolean_mask(other, meeting)], 1)


def _components(runs: _Runs) -> tf.Tensor:
    """For each run the lowest number of a run of its component, int32."""
    one, other = tf.unstack(runs.joined, axis=1)

    def apart(roots: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(tf.not_equal(tf.gather(roots, one), tf.gather(roots, other)))

    def join(roots: tf.Tensor) -> tuple[tf.Tensor]:
        ends = tf.gather(roots, one), tf.gather(roots, other)
        hooked = tf.tensor_scatter_nd_min(roots, tf.maximum(*ends)[:, tf.newaxis], tf.minimum(*ends))
        return tf.while_loop(_unsettled, lambda roots: (tf.gather(roots, roots),), (hooked,), parallel_iterations=1)

    roots = tf.range(tf.size(runs.sizes))
    (roots,) = tf.while_loop(apart, join, (roots,), parallel_iterations=1)
    return roots


def _unsettled(roots: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(tf.not_equal(tf.gather(roots, roots), roots))


def _change(
    box: tf.Tensor,
    mask: Mask,
    firsts: tf.Tensor,
    chosen: tf.Tensor,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """A box after a change of each plane, which is told where it belongs to a chosen run, Boolean (runs,)."""
    with_nobody = tf.concat([chosen, [False]], 0)

    def changed(x: Any) -> tf.Tensor:
        numbers = _numbered(mask(x), firsts[x])
        places = tf.where(tf.equal(numbers, NOBODY), tf.size(chosen), numbers)
        return change(box[x], tf.gather(with_nobody, places))

    return for_each(tf.shape(box)[0], changed, box.dtype)
