"""`kseg.volumes.intensity_normalisation.intensity_statistics` as a graph, in memory for a slab of the volume.

Values of small integer types are counted. Of float32, order statistics come from two counts: of the upper half of the
bits, and then of the lower half of those that share the wanted upper one; or, of one slab, from sorting its ends.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kseg.deployment.serving.graph_loops import accumulate, for_each
from kseg.volumes.intensity_normalisation import MAX_SAMPLE_VOXELS, PERCENTILES

HALF = 2**16
"""Values of half a float32."""

AT_ONCE = 2**18
"""Voxels of a slab, or those of a plane where it has more: each slab passes over a whole table of counts."""
Sample = Callable[[Any], tf.Tensor]
"""A slab's number -> the voxels of it that count, flat."""


def graph_statistics(volume: tf.Tensor) -> tf.Tensor:
    """Return `(channels, 4)` float32 as `intensity_statistics` has them.

    Args:
        volume: `(x, y, z, channels)`, uint8, int16, uint16 or float32.

    Raises:
        tf.errors.InvalidArgumentError: when run, on float32 voxels that are NaN or infinite.
    """
    of_channel = _of_floats if volume.dtype == tf.float32 else _of_integers
    rows = for_each(volume.shape[-1], lambda channel: of_channel(volume, channel), tf.float64)
    return tf.cast(tf.ensure_shape(rows, [volume.shape[-1], 4]), tf.float32)


def _of_integers(volume: tf.Tensor, channel: Any) -> tf.Tensor:
    lowest, number = volume.dtype.min, volume.dtype.max - volume.dtype.min + 1
    values = tf.range(number, dtype=tf.float64) + lowest

    slabs, planes = _slabs(volume)

    def count(slab: Any, counts: tf.Tensor) -> tf.Tensor:
        voxels = volume[slab * planes : (slab + 1) * planes, ..., channel]
        return counts + _counts(tf.cast(voxels, tf.int32) - lowest, number)

    counts = accumulate(slabs, tf.zeros(number, tf.int64), count)
    last_rank = tf.cumsum(counts) - 1
    below, above, part = _around(last_rank[-1])
    ranked = tf.gather(values, tf.searchsorted(last_rank, tf.concat([below, above], 0)))
    low, high = tf.unstack(ranked[:2] + (ranked[2:] - ranked[:2]) * part)
    clipped = tf.clip_by_value(values, low, high)
    shares = tf.cast(counts, tf.float64) / tf.cast(last_rank[-1] + 1, tf.float64)
    mean = tf.reduce_sum(clipped * shares)
    variance = tf.reduce_sum((clipped - mean) ** 2 * shares)
    return _row(low, high, mean, variance)


def _of_floats(volume: tf.Tensor, channel: Any) -> tf.Tensor:
    slabs, planes = _slabs(volume)
    _check_finite(volume, channel, slabs, planes)
    sample = _sample(volume, channel, planes)
    last, part, ranked = tf.cond(slabs > 1, lambda: _counted(sample, slabs), lambda: _sorted(sample(0)))
    lower, upper = tf.cast(ranked[:2], tf.float64), tf.cast(ranked[2:], tf.float64)
    difference = tf.cast(ranked[2:] - ranked[:2], tf.float64)
    # As NumPy has it: from the nearer of the two.
    low, high = tf.unstack(tf.where(part < 0.5, lower + difference * part, upper - difference * (1 - part)))
    number = tf.cast(last + 1, tf.float64)

    def mean_of(middle: Any, power: int) -> tf.Tensor:
        def add(slab: Any, total: tf.Tensor) -> tf.Tensor:
            clipped = tf.clip_by_value(tf.cast(sample(slab), tf.float64), low, high)
            return total + tf.reduce_sum((clipped - middle) ** power)

        return accumulate(slabs, tf.zeros((), tf.float64), add) / number

    mean = low + mean_of(low, 1)
    return _row(low, high, mean, mean_of(mean, 2))


def _slabs(volume: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How many slabs along x a volume has, and how many planes are in one."""
    x, y, z = tf.unstack(tf.shape(volume)[:3])
    planes = tf.maximum(AT_ONCE // (y * z), 1)
    return -(-x // planes), planes


def _sample(volume: tf.Tensor, channel: Any, planes: tf.Tensor) -> Sample:
    """The voxels that stand for a slab, as `kseg.volumes.intensity_normalisation.CaseIntensities` has them."""
    x, y, z = tf.unstack(tf.cast(tf.shape(volume)[:3], tf.int64))
    step = -(-x * y * z // MAX_SAMPLE_VOXELS)
    places = tf.range(y)[:, tf.newaxis] + tf.range(z)

    def sample(slab: Any) -> tf.Tensor:
        first = slab * planes
        voxels = volume[first : first + planes, ..., channel]
        along = tf.cast(first + tf.range(tf.shape(voxels)[0]), tf.int64)
        taken = tf.equal((along[:, tf.newaxis, tf.newaxis] + places) % step, 0)
        return tf.cond(step > 1, lambda: tf.boolean_mask(voxels, taken), lambda: tf.reshape(voxels, [-1]))

    return sample


def _around(last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The ranks below and above each percentile, and where between them it lies; `last` is the highest rank."""
    rank = tf.constant([share / 100 for share in PERCENTILES], tf.float64) * tf.cast(last, tf.float64)
    below = tf.floor(rank)
    return tf.cast(below, tf.int64), tf.cast(tf.math.ceil(rank), tf.int64), rank - below


def _counted(sample: Sample, slabs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The highest rank, the part of `_around`, and the voxels of the ranks below and above, float32, by counting."""

    def count_upper(slab: Any, counts: tf.Tensor) -> tf.Tensor:
        upper, _ = _halves(sample(slab))
        return counts + _counts(upper, HALF)

    counts = accumulate(slabs, tf.zeros(HALF, tf.int64), count_upper)
    last_rank = tf.cumsum(counts) - 1
    below, above, part = _around(last_rank[-1])
    ranks = tf.concat([below, above], 0)
    uppers = tf.searchsorted(last_rank, ranks)
    within = ranks - (tf.gather(last_rank, uppers) + 1 - tf.gather(counts, uppers))

    def count_lower(slab: Any, counts: tf.Tensor) -> tf.Tensor:
        upper, lower = _halves(sample(slab))
        wanted = [tf.boolean_mask(lower, tf.equal(upper, one)) for one in tf.unstack(uppers, len(PERCENTILES) * 2)]
        return counts + tf.stack([_counts(of_upper, HALF) for of_upper in wanted])

    lower_counts = accumulate(slabs, tf.zeros([len(PERCENTILES) * 2, HALF], tf.int64), count_lower)
    lowers = tf.searchsorted(tf.cumsum(lower_counts, axis=1) - 1, within[:, tf.newaxis])[:, 0]
    key = (uppers - HALF // 2) * HALF + lowers
    return last_rank[-1], part, tf.bitcast(_in_order(key), tf.float32)


def _sorted(voxels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The same of one slab: it is small, and the percentiles are near its ends, so that few voxels are sorted."""
    last = tf.size(voxels, tf.int64) - 1
    below, above, part = _around(last)
    lowest = -tf.math.top_k(-voxels, tf.cast(above[0], tf.int32) + 1).values
    highest = tf.math.top_k(voxels, tf.cast(last - below[1], tf.int32) + 1).values
    ends = [tf.gather(lowest, (below[0], above[0])), tf.gather(highest, last - (below[1], above[1]))]
    return last, part, tf.reshape(tf.stack(ends, axis=1), [-1])


def _halves(voxels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Upper and lower half of each float32, from 0 to 2^16 - 1; together they are in the order of the numbers."""
    key = _in_order(tf.bitcast(voxels, tf.int32))
    return tf.bitwise.right_shift(key, 16) + HALF // 2, tf.bitwise.bitwise_and(key, HALF - 1)


def _check_finite(volume: tf.Tensor, channel: Any, slabs: tf.Tensor, planes: tf.Tensor) -> None:
    """All voxels are numbers, not those of the sample alone: one that is none would spread over the windows."""

    def are_numbers(slab: Any, before: tf.Tensor) -> tf.Tensor:
        voxels = volume[slab * planes : (slab + 1) * planes, ..., channel]
        return before & tf.reduce_all(tf.math.is_finite(voxels))

    finite = accumulate(slabs, tf.constant(True), are_numbers)
    tf.debugging.Assert(finite, ["`voxels` must be finite: received NaN or infinity; replace them."])


def _in_order(bits: tf.Tensor) -> tf.Tensor:
    """Bits of floats to integers in the order of the floats, and back: below 0 a float's bits count downwards."""
    return tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, 2**31 - 1), bits)


def _counts(values: tf.Tensor, number: int) -> tf.Tensor:
    """How often each of 0 ... number - 1 occurs, int64."""
    flat = tf.reshape(values, [-1])
    counts = tf.raw_ops.DenseBincount(input=flat, size=number, weights=tf.constant([], tf.int32))
    return tf.cast(counts, tf.int64)


def _row(low: tf.Tensor, high: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    return tf.stack([low, high, mean, tf.where(low < high, tf.sqrt(variance), 1.0)])
