"""The same convolution with its multiplications reused: every rate, and every up-sampled voxel, shares them.

With `y_d[n] = sum_o W[o] . x[n + d o]` the products `z_o[n] = W[o] . x[n]` of the taps `o` do not depend on the rate
`d`: they are computed once, and each rate is a sum of shifted copies, which separates along the axes. Nearest-neighbour
up-sampling by `u` commutes with the products: voxel `u n + p` of the up-sampled volume needs tap `o` at
`n + floor((p + d o) / u)`, so that products are made at the low resolution, and where `u` divides `d` all phases `p`
coincide. Zeros outside the volume stay zeros. The adjoint has the same shape, with one matrix product for the gradient
of the volume and one for that of the kernel. Where there are fewer channels than filters, and nothing to up-sample, the
shifted copies of the input are added instead (`kseg.nn.few_channel_convolution`). Up-sampled without dilation, products
and sums are one transposed convolution (`kseg.nn.transposed_convolution`).
"""

from collections.abc import Sequence
from typing import Any

from keras import KerasTensor, backend, ops

from kseg.nn import few_channel_convolution
from kseg.nn.cpu_features import on_tensorflows_cpu
from kseg.nn.depth_to_space import depth_to_space, space_to_depth
from kseg.nn.implementation_choice import adds_shifted_inputs, transposes
from kseg.nn.transposed_convolution import transposed_convolution
from kseg.nn.xla_compiled import compiled

Sizes = Sequence[int]
HALVES = ("float16", "bfloat16")
X, Y, Z = 2, 3, 4  # axes of `(maps, batch, x, y, z)`: shifts and sums run over contiguous volumes


def reused_convolutions(
    x: KerasTensor,
    kernel: KerasTensor,
    dilation_rates: Sequence[int],
    upsample: Sizes = (1, 1, 1),
    plain: bool = False,
) -> KerasTensor:
    """Up-sample `x`, convolve it with one kernel at every rate, "same" size, and concatenate.

    Equals `dilated_convolutions(upsample_nearest(x, upsample), [kernel] * rates, dilation_rates)`.

    Args:
        x: `(batch, x, y, z, channels)`, at the low resolution.
        kernel: `(kx, ky, kz, channels, filters)`, odd sizes.
        dilation_rates: distance in (up-sampled) voxels between the taps, one a branch.
        upsample: factors of nearest-neighbour up-sampling along x, y, z.
        plain: as operations that need no XLA, for exports; they have the backend's own gradient.

    Returns:
        `(batch, u x, u y, u z, rates * filters)`, the maps of the first rate first.
    """
    rates, factors = tuple(dilation_rates), tuple(upsample)
    few = adds_shifted_inputs(kernel.shape, factors)
    dtype = backend.standardize_dtype(x.dtype)
    if transposes(kernel.shape, rates, factors, dtype):
        return transposed_convolution(x, kernel, factors)
    if plain:
        return _in_places(_products_and_sums(x, kernel, rates, factors), factors)
    if dtype in HALVES and on_tensorflows_cpu():  # which has no fast loops of halves
        x, kernel = ops.cast(x, "float32"), ops.cast(kernel, "float32")

    @ops.custom_gradient
    def convolve(x: KerasTensor, kernel: KerasTensor) -> Any:
        def gradient(*args: KerasTensor, upstream: KerasTensor = None) -> tuple[KerasTensor, KerasTensor]:
            maps = args[0] if upstream is None else upstream
            if few:  # two functions, so that a graph which needs one gradient does not compute the other
                return few_channel_convolution.x_gradient(kernel, maps, rates), few_channel_convolution.kernel_gradient(
                    x, kernel, maps, rates
                )
            return _gradients(x, kernel, maps, rates, factors)

        if few:
            return few_channel_convolution.convolve(x, kernel, rates), gradient
        return _convolve(x, kernel, rates, factors), gradient

    return ops.cast(convolve(x, kernel), dtype)


def _convolve(x: KerasTensor, kernel: KerasTensor, rates: Sequence[int], upsample: Sizes) -> KerasTensor:
    maps = compiled(_products_and_sums, rates=rates, upsample=upsample)(x, kernel)
    return _in_places(maps, upsample)  # not compiled: XLA would sum element by element in this order


def _in_places(maps: KerasTensor, upsample: Sizes) -> KerasTensor:
    """Return what `_products_and_sums` returns as `(batch, ux x, uy y, uz z, rates * filters)`."""
    # Neighbours along z lie in memory as channels do, so that one transposition puts all phases in their places.
    return _unfold(ops.transpose(maps, (1, 2, 3, 4, 0)), upsample[2])


def _products_and_sums(x: KerasTensor, kernel: KerasTensor, rates: Sequence[int], upsample: Sizes) -> KerasTensor:
    """Return the maps as `(uz * rates * filters, batch, ux x, uy y, z)`, phase along z first."""
    *space, channels = ops.shape(x)
    taps = kernel.shape[:3]
    flat = ops.matmul(ops.transpose(_as_matrix(kernel)), ops.transpose(ops.reshape(x, (-1, channels))))
    products = ops.reshape(flat, (flat.shape[0], *space))
    by_rate = []
    for rate in rates:
        maps = products
        for axis in (X, Y):
            maps = depth_to_space(_sum_taps(maps, axis, taps[axis - X], rate, upsample[axis - X]), axis)
        by_rate.append(_sum_taps(maps, Z, taps[2], rate, upsample[2]))
    return ops.concatenate([phase for phases in zip(*by_rate, strict=True) for phase in phases], axis=0)


def _gradients(
    x: KerasTensor, kernel: KerasTensor, upstream: KerasTensor, rates: Sequence[int], upsample: Sizes
) -> tuple[KerasTensor, KerasTensor]:
    maps = ops.transpose(_fold(upstream, upsample[2]), (4, 0, 1, 2, 3))
    return compiled(_gradients_of_sums, rates=rates, upsample=upsample)(x, kernel, maps)


def _gradients_of_sums(
    x: KerasTensor, kernel: KerasTensor, maps: KerasTensor, rates: Sequence[int], upsample: Sizes
) -> tuple[KerasTensor, KerasTensor]:
    """Return the gradients of `x` and `kernel` for that of what `_products_and_sums` returns."""
    *space, channels = ops.shape(x)
    *taps, _, filters = kernel.shape
    pieces = ops.split(maps, upsample[2] * len(rates), axis=0)
    products = 0.0
    for number, rate in enumerate(rates):
        spread = _spread_taps(pieces[number :: len(rates)], Z, taps[2], rate)
        for axis in (Y, X):
            spread = _spread_taps(space_to_depth(spread, axis, upsample[axis - X]), axis, taps[axis - X], rate)
        products = products + spread
    matrix = _as_matrix(kernel)
    flat = ops.reshape(products, (matrix.shape[1], -1))
    x_gradient = ops.reshape(ops.matmul(ops.transpose(flat), ops.transpose(matrix)), (*space, channels))
    matrix_gradient = ops.matmul(flat, ops.reshape(x, (-1, channels)))
    kernel_gradient = ops.transpose(ops.reshape(matrix_gradient, (*taps, filters, channels)), (0, 1, 2, 4, 3))
    return x_gradient, kernel_gradient


def _as_matrix(kernel: KerasTensor) -> KerasTensor:
    """Kernel `(kx, ky, kz, channels, filters)` as `(channels, kx ky kz filters)`."""
    return ops.reshape(ops.transpose(kernel, (3, 0, 1, 2, 4)), (kernel.shape[3], -1))


def _sum_taps(maps: KerasTensor, axis: int, taps: int, rate: int, factor: int) -> list[KerasTensor]:
    """Sum the taps of one axis, each from its place, at every phase of the up-sampling.

    Args:
        maps: `(taps * rest, batch, x, y, z)`, the taps of `axis` first.
        axis: `X`, `Y` or `Z`.
        taps: size of the kernel along the axis.
        rate: dilation rate.
        factor: up-sampling factor of the axis.

    Returns:
        `(rest, batch, x, y, z)` for each phase; the same tensor for phases that coincide.
    """
    by_tap = ops.split(maps, taps, axis=0)
    phases = []
    for offsets in tap_offsets(taps, rate, factor):
        shifted = [_shift(tap, offset, axis) for tap, offset in zip(by_tap, offsets, strict=True)]
        phases.append(sum(shifted[1:], start=shifted[0]))
    return phases * (factor // len(phases))


def _spread_taps(phases: Sequence[KerasTensor], axis: int, taps: int, rate: int) -> KerasTensor:
    """The adjoint of `_sum_taps`: `(rest, batch, x, y, z)` for each phase to `(taps * rest, batch, x, y, z)`."""
    by_phase = tap_offsets(taps, rate, len(phases))
    if len(by_phase) == 1:
        phases = [sum(phases[1:], start=phases[0])]
    by_tap = []
    for tap in range(taps):
        shifted = [_shift(phase, -offsets[tap], axis) for phase, offsets in zip(phases, by_phase, strict=True)]
        by_tap.append(sum(shifted[1:], start=shifted[0]))
    return ops.concatenate(by_tap, axis=0)


def tap_offsets(taps: int, rate: int, factor: int) -> list[list[int]]:
    """Offsets at the low resolution of each tap, for each phase; one phase stands for all where they coincide."""
    reach = taps // 2
    phases = 1 if rate % factor == 0 else factor
    return [[(phase + rate * tap) // factor for tap in range(-reach, reach + 1)] for phase in range(phases)]


def _shift(x: KerasTensor, offset: int, axis: int) -> KerasTensor:
    """Return `x[n + offset]` along `axis`, zero outside the volume."""
    if offset == 0:
        return x
    size = ops.shape(x)[axis]
    padding = [(0, 0)] * len(x.shape)
    padding[axis] = (max(-offset, 0), max(offset, 0))
    padded = ops.pad(x, padding)
    start = max(offset, 0)
    return padded[(slice(None),) * axis + (slice(start, start + size),)]


def _fold(x: KerasTensor, factor: int) -> KerasTensor:
    """Regard `factor` neighbours along z as channels: `(..., z, c)` to `(..., z / factor, factor * c)`."""
    *outer, z, channels = ops.shape(x)
    return ops.reshape(x, (*outer, z // factor, factor * channels))


def _unfold(x: KerasTensor, factor: int) -> KerasTensor:
    """Undo `_fold`."""
    *outer, z, channels = ops.shape(x)
    return ops.reshape(x, (*outer, z * factor, channels // factor))
