"""The convolution for few input channels: shifted copies of the input, weighted and added in one pass over memory.

Sharing products between rates turns one channel into `taps * filters` maps, which is the wrong way round where there
are fewer channels than filters. There each map is a weighted sum of `taps * channels` shifted copies of the input.
Compiled into one loop it reads a small input that stays in the cache, and writes each map once.
"""

from collections.abc import Sequence
from itertools import product

from keras import KerasTensor, ops

from kseg.nn.convolution import dilated_convolutions
from kseg.nn.cpu_features import convolutions_are_fast, on_tensorflows_cpu
from kseg.nn.xla_compiled import compiled


def convolve(x: KerasTensor, kernel: KerasTensor, rates: Sequence[int]) -> KerasTensor:
    """Convolve `x` `(batch, x, y, z, channels)` with `kernel` at every rate; maps of the first rate first."""
    maps = compiled(_weighted_sums, rates=tuple(rates))(ops.transpose(x, (4, 0, 1, 2, 3)), kernel)
    return ops.transpose(maps, (1, 2, 3, 4, 0))  # not compiled: XLA would sum element by element in this order


def x_gradient(kernel: KerasTensor, upstream: KerasTensor, rates: Sequence[int]) -> KerasTensor:
    """Return the gradient of `x` for the gradient of the maps."""
    # The adjoint of a convolution is one with the kernel turned round, channels and filters exchanged.
    turned = ops.transpose(kernel[::-1, ::-1, ::-1], (0, 1, 2, 4, 3))
    parts = ops.split(upstream, len(rates), axis=-1)
    spread = [convolve(part, turned, (rate,)) for part, rate in zip(parts, rates, strict=True)]
    return sum(spread[1:], start=spread[0])


def kernel_gradient(x: KerasTensor, kernel: KerasTensor, upstream: KerasTensor, rates: Sequence[int]) -> KerasTensor:
    """Return the gradient of `kernel` for the gradient of the maps."""
    if on_tensorflows_cpu() and convolutions_are_fast():
        return _kernel_gradient_of_convolutions(x, kernel, upstream, rates)
    *taps, channels, filters = kernel.shape
    by_rate = ops.split(ops.transpose(ops.reshape(upstream, (-1, len(rates) * filters))), len(rates), axis=0)
    products = [
        ops.matmul(maps, ops.transpose(_copies(x, taps, rate))) for maps, rate in zip(by_rate, rates, strict=True)
    ]
    total = sum(products[1:], start=products[0])
    return ops.transpose(ops.reshape(total, (filters, *taps, channels)), (1, 2, 3, 4, 0))


def _weighted_sums(by_channel: KerasTensor, kernel: KerasTensor, rates: Sequence[int]) -> KerasTensor:
    """Return `(rates * filters, batch, x, y, z)` for `(channels, batch, x, y, z)`."""
    *taps, channels, filters = kernel.shape
    weights = ops.reshape(kernel, (-1, channels, filters, 1, 1, 1, 1))
    maps = []
    for rate in rates:
        terms = (
            weights[tap, channel] * copy[channel]
            for tap, copy in enumerate(_shifted(by_channel, taps, rate))
            for channel in range(channels)
        )
        maps.append(sum(terms, start=0.0))
    return ops.concatenate(maps, axis=0)


def _shifted(by_channel: KerasTensor, taps: Sequence[int], rate: int) -> list[KerasTensor]:
    """Return a copy of `(channels, batch, x, y, z)` for each tap, moved to it, zero from outside the volume."""
    sizes = ops.shape(by_channel)[2:]
    margins = [rate * (size // 2) for size in taps]
    padded = ops.pad(by_channel, [(0, 0), (0, 0), *((margin, margin) for margin in margins)])
    copies = []
    for tap in product(*(range(size) for size in taps)):
        window = [slice(rate * t, rate * t + size) for t, size in zip(tap, sizes, strict=True)]
        copies.append(padded[:, :, window[0], window[1], window[2]])
    return copies


def _copies(x: KerasTensor, taps: Sequence[int], rate: int) -> KerasTensor:
    """Return the shifted copies of `x` as a matrix `(taps * channels, voxels)`."""
    copies = _shifted(ops.transpose(x, (4, 0, 1, 2, 3)), taps, rate)
    return ops.reshape(ops.stack(copies), (len(copies) * x.shape[-1], -1))


def _kernel_gradient_of_convolutions(
    x: KerasTensor, kernel: KerasTensor, upstream: KerasTensor, rates: Sequence[int]
) -> KerasTensor:
    """Return TensorFlow's own gradient; a graph leaves the value away, since nothing uses it."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(kernel)
        maps = dilated_convolutions(x, [kernel] * len(rates), rates)
    return tape.gradient(maps, kernel, output_gradients=upstream)
