"""Bias, norm, ReLU and what is added to them, of all branches at once, in few passes over memory.

The maps of a layer are large and each pass over them costs as much as a small convolution. Batch norm of the
concatenated branches, with the shared scale and shift repeated, is the same function as branch by branch. In training
the bias cancels against the batch's mean, so that it is never added to the maps: it only moves the moving mean.
"""

from keras import KerasTensor, backend, ops

from kseg.nn.activation import activate, fast_activate
from kseg.nn.replicas import replica_count, sum_over_replicas


def plain_batch_norm(
    maps: KerasTensor,
    bias: KerasTensor,
    scale: KerasTensor,
    shift: KerasTensor,
    epsilon: float,
    negative_slope: float = 0.0,
    summand: KerasTensor | None = None,
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Return `activate(batch_norm(maps + bias)) + summand`, and mean and (biased) variance of `maps + bias`.

    The statistics are those of all replicas.

    Args:
        maps: `(batch, x, y, z, channels)`.
        bias: `(channels,)`; so are `scale` and `shift`, float32.
        scale: the norm's gain.
        shift: the norm's offset.
        epsilon: added to the variance.
        negative_slope: see `kseg.nn.activation`.
        summand: of the maps' shape, or none.
    """
    maps = maps + bias
    mean, variance = moments_over_replicas(maps)
    return scale_and_shift(maps, mean, variance, scale, shift, epsilon, negative_slope, summand), mean, variance


def fast_batch_norm(
    maps: KerasTensor,
    bias: KerasTensor,
    scale: KerasTensor,
    shift: KerasTensor,
    epsilon: float,
    negative_slope: float = 0.0,
    summand: KerasTensor | None = None,
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Return what `plain_batch_norm` returns, by the backend's fused operation where there is one."""
    if backend.backend() != "tensorflow":
        return plain_batch_norm(maps, bias, scale, shift, epsilon, negative_slope, summand)
    # The bias has no influence on the result; with a factor of zero its gradient is zero instead of missing.
    bias = ops.cast(bias, "float32")
    if replica_count() > 1:
        mean, variance = moments_over_replicas(maps)
        shift = shift + 0.0 * bias
        maps = scale_and_shift(maps, mean, variance, scale, shift, epsilon, negative_slope, summand)
        return maps, mean + bias, variance
    maps, mean, variance = _tensorflow_norm(maps, scale, shift + 0.0 * bias, epsilon)
    return fast_activate(maps, negative_slope, summand), mean + bias, variance


def moments_over_replicas(maps: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Return mean and (biased) variance of `maps` `(batch, x, y, z, channels)` of all replicas, float32 `(channels,)`.

    Replicas have equal shares of the batch, so that means of theirs do; one exchange brings both.
    """
    mean, variance = ops.moments(ops.cast(maps, "float32"), axes=(0, 1, 2, 3))
    replicas = replica_count()
    if replicas == 1:
        return mean, variance
    sums = sum_over_replicas(ops.stack([mean, variance + ops.square(mean)]))
    mean, mean_square = ops.unstack(sums / replicas, num=2)
    return mean, ops.maximum(mean_square - ops.square(mean), 0.0)


def scale_and_shift(
    maps: KerasTensor,
    mean: KerasTensor,
    variance: KerasTensor,
    scale: KerasTensor,
    shift: KerasTensor,
    epsilon: float,
    negative_slope: float = 0.0,
    summand: KerasTensor | None = None,
) -> KerasTensor:
    """Return `activate((maps - mean) / sqrt(variance + epsilon) * scale + shift) + summand`: one product, one sum."""
    gain = scale * ops.rsqrt(variance + epsilon)
    offset = shift - mean * gain
    return activate(maps * ops.cast(gain, maps.dtype) + ops.cast(offset, maps.dtype), negative_slope, summand)


def group_norm(
    maps: KerasTensor,
    bias: KerasTensor,
    scale: KerasTensor,
    shift: KerasTensor,
    groups: int,
    epsilon: float,
    negative_slope: float = 0.0,
    summand: KerasTensor | None = None,
) -> KerasTensor:
    """Return `activate(group_norm(maps + bias)) + summand`.

    The statistics are those of each sample's `groups` equal shares of the maps. Wu and He, Group Normalization, ECCV
    2018; as many groups as maps make it the instance norm.
    """
    mean, variance = ops.moments(ops.cast(maps, "float32"), axes=(1, 2, 3))
    shares = (-1, groups, maps.shape[-1] // groups)
    means, variances = ops.reshape(mean + ops.cast(bias, mean.dtype), shares), ops.reshape(variance, shares)
    middle = ops.mean(means, axis=-1, keepdims=True)
    spread = ops.mean(variances + ops.square(means - middle), axis=-1, keepdims=True)
    one_each = (-1, 1, 1, 1, maps.shape[-1])
    middle = ops.reshape(ops.broadcast_to(middle, ops.shape(means)), one_each) - ops.cast(bias, mean.dtype)
    spread = ops.reshape(ops.broadcast_to(spread, ops.shape(means)), one_each)
    return scale_and_shift(maps, middle, spread, scale, shift, epsilon, negative_slope, summand)


def _tensorflow_norm(
    maps: KerasTensor, scale: KerasTensor, shift: KerasTensor, epsilon: float
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """TensorFlow's own fused operation, value and gradient; made for four axes, so two of space are merged."""
    import tensorflow as tf

    batch, x, y, z, channels = ops.shape(maps)
    flat = tf.reshape(maps, (batch, x * y, z, channels))
    normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=flat,
        scale=scale,
        offset=shift,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(batch * x * y * z, tf.float32)
    biased = variance * (count - 1.0) / count  # the operation returns the unbiased one
    return tf.reshape(normalised, tf.shape(maps)), tf.stop_gradient(mean), tf.stop_gradient(biased)
