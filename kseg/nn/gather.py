"""The convolution for few input channels: shifted inputs are gathered and multiplied.

Sharing products between rates turns one channel into `taps * filters` maps, which is the wrong way round where there
are fewer channels than filters. There the shifted copies of the input are the smaller thing: `taps * channels` maps a
rate, and one matrix product.
"""

from collections.abc import Sequence
from itertools import product

from keras import KerasTensor, ops


def convolve(x: KerasTensor, kernel: KerasTensor, rates: Sequence[int]) -> KerasTensor:
    """Convolve `x` `(batch, x, y, z, channels)` with `kernel` at every rate; maps of the first rate first."""
    matrix = _as_matrix(kernel)
    maps = [ops.matmul(matrix, _gather(x, kernel.shape[:3], rate)) for rate in rates]
    *space, _ = ops.shape(x)
    return ops.reshape(ops.transpose(ops.concatenate(maps, axis=0)), (*space, len(rates) * kernel.shape[4]))


def gradients(
    x: KerasTensor, kernel: KerasTensor, upstream: KerasTensor, rates: Sequence[int]
) -> tuple[KerasTensor, KerasTensor]:
    """Return the gradients of `x` and `kernel` for the gradient of the maps.

    Nothing is shared between the two, so that a graph which needs one does not compute the other.
    """
    *taps, channels, filters = kernel.shape
    by_rate = ops.split(ops.transpose(ops.reshape(upstream, (-1, len(rates) * filters))), len(rates), axis=0)
    products = [
        ops.matmul(maps, ops.transpose(_gather(x, taps, rate))) for maps, rate in zip(by_rate, rates, strict=True)
    ]
    kernel_gradient = ops.transpose(
        ops.reshape(sum(products[1:], start=products[0]), (filters, *taps, channels)), (1, 2, 3, 4, 0)
    )
    # The adjoint of a convolution is one with the kernel turned round, channels and filters exchanged.
    turned = ops.transpose(kernel[::-1, ::-1, ::-1], (0, 1, 2, 4, 3))
    parts = ops.split(upstream, len(rates), axis=-1)
    spread = [convolve(part, turned, (rate,)) for part, rate in zip(parts, rates, strict=True)]
    return sum(spread[1:], start=spread[0]), kernel_gradient


def _gather(x: KerasTensor, taps: Sequence[int], rate: int) -> KerasTensor:
    """Return the shifted copies of `x` as `(taps * channels, voxels)`, zero outside the volume."""
    *space, channels = ops.shape(x)
    _, *sizes = space
    margins = [rate * (size // 2) for size in taps]
    by_channel = ops.transpose(x, (4, 0, 1, 2, 3))
    padded = ops.pad(by_channel, [(0, 0), (0, 0), *((margin, margin) for margin in margins)])
    copies = []
    for tap in product(*(range(size) for size in taps)):
        window = [slice(rate * t, rate * t + size) for t, size in zip(tap, sizes, strict=True)]
        copies.append(padded[(slice(None), slice(None), window[0], window[1], window[2])])
    return ops.reshape(ops.stack(copies), (len(copies) * channels, -1))


def _as_matrix(kernel: KerasTensor) -> KerasTensor:
    """Kernel `(kx, ky, kz, channels, filters)` as `(filters, kx ky kz channels)`."""
    return ops.transpose(ops.reshape(kernel, (-1, kernel.shape[4])))
