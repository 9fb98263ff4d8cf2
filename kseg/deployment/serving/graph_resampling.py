"""`kseg.volumes.resample` and `kseg.volumes.interpolation` as a graph, plane by plane along x.

Places are exact (there), so that weights here are the same numbers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kseg.deployment.serving.graph_loops import accumulate, for_each
from kseg.volumes.interpolation import STEPS
from kseg.volumes.resample import MAX_RESAMPLED_VOXELS, SAME_GRID, as_stored


class GraphGrid(NamedTuple):
    """A volume's voxels along x, y, z, int32, and their spacing in mm, float64."""

    shape: tf.Tensor
    spacing_mm: tf.Tensor


def grid_at_spacing(own: GraphGrid, spacing_mm: Sequence[float]) -> GraphGrid:
    """Return the grid that `kseg.volumes.resample.at_spacing` would choose; that of the volume where it is near enough.

    Raises:
        tf.errors.InvalidArgumentError: when run, where that has too many voxels, or the own spacing is no length.
    """
    sound = tf.reduce_all(tf.math.is_finite(own.spacing_mm) & (own.spacing_mm > 0))
    tf.debugging.Assert(sound, ["`spacing_mm` must be a length above 0 for x, y and z: received", own.spacing_mm])
    wanted = tf.constant(as_stored(spacing_mm), tf.float64)
    lengths = tf.maximum(tf.round(_divide(tf.cast(own.shape, tf.float64) * own.spacing_mm, wanted)), 1.0)
    message = "`spacing_mm` makes too many voxels of this volume at the model's spacing: crop it. Received"
    tf.debugging.Assert(tf.reduce_prod(lengths) <= MAX_RESAMPLED_VOXELS, [message, own.spacing_mm])
    shape = tf.cast(lengths, tf.int32)
    same = _same(own, GraphGrid(shape, wanted))
    return GraphGrid(shape, tf.where(same, own.spacing_mm, wanted))


def resample(volume: tf.Tensor, old: GraphGrid, new: GraphGrid) -> tf.Tensor:
    """Return `volume` `(x, y, z, channels)` on another grid with its centre, as `linear` does, in its own dtype."""
    return tf.cond(_same(old, new), lambda: volume, lambda: _linear(volume, _places(old, new)))


def resample_labels(indices: tf.Tensor, num_classes: int, old: GraphGrid, new: GraphGrid) -> tf.Tensor:
    """Return class indices `(x, y, z)` on another grid with their centre, as `by_label` does."""
    return tf.cond(_same(old, new), lambda: indices, lambda: _by_label(indices, num_classes, _places(old, new)))


def _divide(dividend: tf.Tensor, divisor: tf.Tensor) -> tf.Tensor:
    """A quotient, rounded once: of a plain division by a constant the optimiser makes a product with its inverse."""
    return tf.math.divide_no_nan(dividend, divisor)


def _same(old: GraphGrid, new: GraphGrid) -> tf.Tensor:
    moved = tf.abs(_divide(new.spacing_mm, old.spacing_mm) - 1) * tf.cast(new.shape, tf.float64)
    return tf.reduce_all(tf.equal(old.shape, new.shape)) & tf.reduce_all(moved < SAME_GRID)


def _places(old: GraphGrid, new: GraphGrid) -> list[tf.Tensor]:
    """For x, y, z where the new voxels lie among the old (`kseg.volumes.interpolation.places_of`), float64."""
    ratios = tf.unstack(_divide(new.spacing_mm, old.spacing_mm))
    lengths = (tf.unstack(tf.cast(grid.shape, tf.float64)) for grid in (old, new))
    return [_places_along(*axis) for axis in zip(*lengths, ratios, strict=True)]


def _places_along(old: tf.Tensor, new: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    places = (tf.range(new) - (new - 1) / 2) * ratio + (old - 1) / 2
    return tf.clip_by_value(tf.round(places * STEPS) / STEPS, 0, old - 1)


class _Between(NamedTuple):
    """Neighbours of places along an axis, and the weight of the one above, float64."""

    below: tf.Tensor
    above: tf.Tensor
    weight: tf.Tensor


def _between(places: tf.Tensor, length: tf.Tensor) -> _Between:
    below = tf.cast(tf.floor(places), tf.int32)
    return _Between(below, tf.minimum(below + 1, length - 1), places - tf.cast(below, tf.float64))


def _linear(volume: tf.Tensor, places: list[tf.Tensor]) -> tf.Tensor:
    x, y, z = (_between(along, tf.shape(volume)[axis]) for axis, along in enumerate(places))

    def plane(n: Any) -> tf.Tensor:
        lower, upper = (tf.cast(volume[place[n]], tf.float32) for place in (x.below, x.above))
        interpolated = _plane(lower, upper, x.weight[n], y, z)
        return tf.cast(tf.round(interpolated) if volume.dtype.is_integer else interpolated, volume.dtype)

    return for_each(_length(places[0]), plane, volume.dtype)


def _by_label(indices: tf.Tensor, num_classes: int, places: list[tf.Tensor]) -> tf.Tensor:
    x, y, z = (_between(along, tf.shape(indices)[axis]) for axis, along in enumerate(places))
    plane_shape = tf.stack([_length(along) for along in places[1:]])

    def plane(n: Any) -> tf.Tensor:
        lower, upper = indices[x.below[n]], indices[x.above[n]]

        def compare(label: Any, state: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            winner, largest = state
            below, above = (tf.equal(plane, tf.cast(label, indices.dtype)) for plane in (lower, upper))

            def contest() -> tuple[tf.Tensor, tf.Tensor]:
                share = _plane(tf.cast(below, tf.float64), tf.cast(above, tf.float64), x.weight[n], y, z)
                wins = share > largest
                return tf.where(wins, tf.cast(label, indices.dtype), winner), tf.where(wins, share, largest)

            return tf.cond(tf.reduce_any(below | above), contest, lambda: (winner, largest))

        nobody = tf.zeros(plane_shape, indices.dtype), tf.zeros(plane_shape, tf.float64)
        return accumulate(num_classes, nobody, compare)[0]

    return for_each(_length(places[0]), plane, indices.dtype)


def _plane(lower: tf.Tensor, upper: tf.Tensor, weight: tf.Tensor, y: _Between, z: _Between) -> tf.Tensor:
    """A plane between two, `(y, z, ...)`: along x, then y, then z."""
    plane = _mix(lower, upper, weight)
    plane = _mix(tf.gather(plane, y.below), tf.gather(plane, y.above), _beside(y.weight, plane.shape.rank))
    below, above = (tf.gather(plane, place, axis=1) for place in (z.below, z.above))
    return _mix(below, above, _beside(z.weight, plane.shape.rank - 1))


def _mix(lower: tf.Tensor, upper: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    weight = tf.cast(weight, lower.dtype)
    return lower * (1 - weight) + upper * weight


def _beside(weights: tf.Tensor, rank: int) -> tf.Tensor:
    return tf.reshape(weights, [-1] + [1] * (rank - 1))


def _length(places: tf.Tensor) -> tf.Tensor:
    return tf.shape(places)[0]
