"""ReLU, and what is added to it, in one pass over memory.

TensorFlow's own bfloat16 loops go number by number on CPUs: an activation and a sum of large maps cost as much as the
convolution before them. XLA makes one loop of both that computes in float32 and rounds once. Rounding is written with
integers, since XLA's own conversion takes three times as long (docs/decisions.md).
"""

from typing import Any

from keras import KerasTensor, backend, ops

from kseg.nn.cpu_features import on_tensorflows_cpu
from kseg.nn.xla_compiled import compiled


def activate(maps: KerasTensor, negative_slope: float, summand: KerasTensor | None = None) -> KerasTensor:
    """Return ReLU of `maps`, or with a `negative_slope` above 0 the leaky one, plus `summand`, of the same shape."""
    maps = ops.leaky_relu(maps, negative_slope) if negative_slope else ops.relu(maps)
    return maps if summand is None else maps + summand


def fast_activate(maps: KerasTensor, negative_slope: float, summand: KerasTensor | None = None) -> KerasTensor:
    """Return what `activate` returns, in bfloat16 on TensorFlow's CPU rounded once instead of twice."""
    if backend.standardize_dtype(maps.dtype) != "bfloat16" or not on_tensorflows_cpu():
        return activate(maps, negative_slope, summand)
    summands = () if summand is None else (summand,)

    @ops.custom_gradient
    def in_one_pass(maps: KerasTensor, *summands: KerasTensor) -> Any:
        def gradient(*args: KerasTensor, upstream: KerasTensor = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            of_maps = compiled(_gradient, negative_slope=negative_slope)(maps, upstream)
            return (of_maps, upstream) if summands else of_maps

        if not summands:  # nothing to save a pass of
            return activate(maps, negative_slope), gradient
        return compiled(_activate_and_add, negative_slope=negative_slope)(maps, *summands), gradient

    return in_one_pass(maps, *summands)


def _activate_and_add(maps: KerasTensor, summand: KerasTensor, negative_slope: float) -> KerasTensor:
    values = ops.cast(maps, "float32")
    return _to_bfloat16(ops.where(maps > 0, values, negative_slope * values) + ops.cast(summand, "float32"))


def _gradient(maps: KerasTensor, upstream: KerasTensor, negative_slope: float) -> KerasTensor:
    values = ops.cast(upstream, "float32")
    return _to_bfloat16(ops.where(maps > 0, values, negative_slope * values))


def _to_bfloat16(values: KerasTensor) -> KerasTensor:
    """Round to the nearest, of two the even one, as a conversion does; NaN stays NaN."""
    import tensorflow as tf

    bits = tf.bitcast(values, tf.int32)
    upper = tf.bitwise.right_shift(bits, 16)
    odd = tf.bitwise.bitwise_and(upper, 1)
    return tf.bitcast(tf.cast(tf.bitwise.right_shift(bits + 0x7FFF + odd, 16), tf.int16), tf.bfloat16)
