"""`kseg.inference.sliding_window` as a graph: a buffer travels along the volume's longest axis.

Sums of weighted probabilities exist for one patch thickness; a plane that no later window reaches is finished. There
are no columns: the buffer is as wide as the volume.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.deployment.serving.graph_loops import accumulate, for_each

PredictPatches = Callable[[tf.Tensor], tf.Tensor]
"""Patches `(n, x, y, z, channels)` to probabilities `(n, x, y, z, classes)`, float32."""

AXES_FIRST = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""For each axis the order of axes in which it is the first, and the others follow in theirs."""


def mean_over_flips_and_members(members: Sequence[PredictPatches], flip_axes: Sequence[str]) -> PredictPatches:
    """Return a predict that averages over members and over all combinations of flips, asked one after another.

    The graph of `kseg.inference.ensemble`.
    """
    flips = np.array(list(product(*([False, True] if axis in flip_axes else [False] for axis in "xyz"))))
    count = len(flips) * len(members)
    if count == 1:
        return members[0]

    def predict(patches: tf.Tensor) -> tf.Tensor:
        def add(n: Any, total: tf.Tensor) -> tf.Tensor:
            dims = tf.concat([[False], tf.gather(flips, n // len(members)), [False]], 0)
            flipped = tf.ensure_shape(tf.raw_ops.Reverse(tensor=patches, dims=dims), patches.shape)
            if len(members) == 1:
                probabilities = members[0](flipped)
            else:
                probabilities = tf.switch_case(n % len(members), [lambda m=member: m(flipped) for member in members])
            return total + tf.raw_ops.Reverse(tensor=probabilities, dims=dims)

        first = add(tf.constant(0), tf.zeros([1, 1, 1, 1, 1]))
        return accumulate(count - 1, first, lambda n, total: add(n + 1, total)) / count

    return predict


def sweep(
    predict: PredictPatches,
    volume: tf.Tensor,
    patch_size: Sequence[int],
    num_classes: int,
    *,
    overlap: float,
    batch_size: int,
    normalise: Callable[[tf.Tensor], tf.Tensor],
    finish: Callable[[tf.Tensor], tf.Tensor],
    dtype: tf.DType,
) -> tf.Tensor:
    """Return for every voxel of a volume what `finish` makes of its blended probabilities.

    Args:
        predict: see `PredictPatches`; it gets at most `batch_size` patches of `patch_size`.
        volume: `(x, y, z, channels)`.
        patch_size: of a window, (x, y, z).
        num_classes: maps of a probability: classes, or regions.
        overlap: least share of a window in common with the next, in [0, 1).
        batch_size: windows a call of `predict`; batches never mix positions along the longest axis.
        normalise: float32 window `(x, y, z, channels)` -> the same; zeros are put around a volume smaller than a patch.
        finish: a plane of probabilities `(rows, columns, classes)` -> `(rows, columns, ...)` of `dtype`.
        dtype: what comes out.

    Returns:
        `(x, y, z, ...)`.
    """
    shape = tf.shape(volume)[:3]
    patch = tf.constant(list(patch_size), tf.int32)
    extents = tf.minimum(shape, patch)
    before = tf.maximum(patch - shape, 0) // 2
    starts = [window_starts(shape[axis], patch[axis], overlap) for axis in range(3)]
    shares = [blend_shares(shape[axis], patch_size[axis], along) for axis, along in enumerate(starts)]
    order = tf.gather(AXES_FIRST, tf.argmax(shape, output_type=tf.int32))
    back = tf.math.invert_permutation(order)
    length, rows, columns = tf.unstack(tf.gather(shape, order))
    thickness = tf.gather(extents, order)[0]
    counts = tf.gather(tf.stack([tf.shape(along)[0] for along in starts]), order)
    layers = window_starts(length, tf.gather(patch, order)[0], overlap)
    stops = tf.concat([layers[1:], [length]], 0)

    def place(layer: Any, n: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Number along each axis, and first voxel, of a layer's window."""
        number = tf.gather(tf.stack([layer, n // counts[2], n % counts[2]]), back)
        return number, tf.stack([starts[axis][number[axis]] for axis in range(3)])

    def cut(layer: Any, n: Any) -> tf.Tensor:
        _, start = place(layer, n)
        window = tf.slice(volume, tf.concat([start, [0]], 0), tf.concat([extents, [-1]], 0))
        normalised = normalise(tf.cast(window, tf.float32))
        around = tf.concat([tf.stack([before, patch - extents - before], 1), [[0, 0]]], 0)
        return tf.ensure_shape(tf.pad(normalised, around), [*patch_size, volume.shape[-1]])

    def add_tile(layer: Any, n: Any, of_patch: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        number, start = place(layer, n)
        x, y, z = (shares[axis][number[axis]] for axis in range(3))
        weights = x[:, tf.newaxis, tf.newaxis] * y[:, tf.newaxis] * z
        probabilities = tf.slice(of_patch, tf.concat([before, [0]], 0), tf.concat([extents, [-1]], 0))
        weighted = tf.transpose(probabilities * weights[..., tf.newaxis], tf.concat([order, [3]], 0))
        _, row, column = tf.unstack(tf.gather(start, order))
        of_planes, of_rows, of_columns = (tf.range(extent) for extent in tf.unstack(tf.shape(weighted)[:3]))
        in_rows = of_planes[:, tf.newaxis] * rows + row + of_rows
        places = in_rows[..., tf.newaxis] * columns + column + of_columns
        flat = tf.reshape(weighted, [-1, num_classes])
        return tf.tensor_scatter_nd_add(sums, tf.reshape(places, [-1, 1]), flat)

    def add_batch(layer: Any, batch: Any, sums: tf.Tensor) -> tf.Tensor:
        first = batch * batch_size
        size = tf.minimum(counts[1] * counts[2] - first, batch_size)
        patches = for_each(size, lambda n: cut(layer, first + n), tf.float32)
        probabilities = predict(tf.ensure_shape(patches, batch_shape(batch_size, patch_size, volume.shape[-1])))
        return accumulate(size, sums, lambda n, sums: add_tile(layer, first + n, probabilities[n], sums))

    def add_layer(layer: Any, state: tuple[tf.TensorArray, tf.Tensor]) -> tuple[tf.TensorArray, tf.Tensor]:
        finished, sums = state
        sums = accumulate(-(-counts[1] * counts[2] // batch_size), sums, lambda n, sums: add_batch(layer, n, sums))
        ready = stops[layer] - layers[layer]

        def hand_out(n: Any, finished: tf.TensorArray) -> tf.TensorArray:
            plane = tf.reshape(sums[n * rows * columns : (n + 1) * rows * columns], [rows, columns, num_classes])
            return finished.write(layers[layer] + n, finish(plane))

        finished = accumulate(ready, finished, hand_out)
        beyond = tf.zeros([ready * rows * columns, num_classes])
        return finished, tf.concat([sums[ready * rows * columns :], beyond], 0)

    array = tf.TensorArray(dtype, length, infer_shape=False)
    sums = tf.zeros([thickness * rows * columns, num_classes])
    planes = accumulate(counts[0], (array, sums), add_layer)[0].stack()
    rank = finish(tf.zeros([1, 1, num_classes])).shape.rank + 1
    return tf.transpose(tf.ensure_shape(planes, [None] * rank), tf.concat([back, tf.range(3, rank)], 0))


def batch_shape(batch_size: int, patch_size: Sequence[int], channels: int) -> list[int | None]:
    """The static shape of a batch of patches: the last of a layer may be smaller."""
    return [1 if batch_size == 1 else None, *patch_size, channels]


def window_starts(length: Any, patch: Any, overlap: float) -> tf.Tensor:
    """First voxels of the windows along an axis, int32: `kseg.inference.windows.window_starts` as a graph."""
    last = tf.cast(tf.maximum(length - patch, 0), tf.float64)
    stride = tf.maximum(tf.cast(patch, tf.float64) * (1 - overlap), 1)
    # Not `/`: of a division by a constant the optimiser makes a product with its inverse, which may round up.
    gaps = tf.math.ceil(tf.math.divide_no_nan(last, stride))
    starts = tf.math.divide_no_nan(last * tf.range(gaps), gaps)
    return tf.cast(tf.concat([tf.round(starts), [last]], 0), tf.int32)


def blend_shares(length: Any, patch: int, starts: tf.Tensor) -> tf.Tensor:
    """Weights of the windows along an axis, `(windows, voxels)` float32: `sliding_window.blend_shares` as a graph."""
    extent = tf.minimum(patch, length)
    middle = tf.cast(extent - 1, tf.float64) / 2
    gaussian = tf.exp(-0.5 * ((tf.cast(tf.range(extent), tf.float64) - middle) / (patch / 8)) ** 2)
    places = starts[:, tf.newaxis] + tf.range(extent)
    of_tiles = tf.broadcast_to(gaussian, tf.shape(places))
    total = tf.tensor_scatter_nd_add(tf.zeros([length], tf.float64), places[..., tf.newaxis], of_tiles)
    return tf.cast(of_tiles / tf.gather(total, places), tf.float32)
