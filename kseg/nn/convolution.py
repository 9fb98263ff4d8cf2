"""One kernel at several dilation rates: the convolution as a pure function.

`y_d[n] = sum_o W[o] . x[n + d o]`, `o` in `{-1, 0, 1}^3` for a kernel of 3, `x` zero outside the volume: the
paper's layer before bias and norm, for every dilation rate `d`.
"""

from collections.abc import Sequence

from keras import KerasTensor, ops


def dilated_convolutions(x: KerasTensor, kernels: Sequence[KerasTensor], dilation_rates: Sequence[int]) -> KerasTensor:
    """Convolve `x` with a kernel per dilation rate, "same" size, and concatenate.

    Args:
        x: `(batch, x, y, z, channels)`.
        kernels: one `(kx, ky, kz, channels, filters)` kernel per rate; a shared kernel is given several times.
        dilation_rates: distance in voxels between the taps of a kernel, one a branch.

    Returns:
        `(batch, x, y, z, branches * filters)`, the maps of the first rate first.
    """
    space = ops.shape(x)[:-1]
    branches = [
        # TensorFlow dilates by way of other shapes, and where sizes vary it takes the size of one axis for another's
        # once such maps are added to `x` (2.21, not 2.16; tests/nn/test_networks.py). Told the shape, it does not.
        ops.reshape(
            ops.conv(x, kernel, padding="same", data_format="channels_last", dilation_rate=rate),
            (*space, kernel.shape[-1]),
        )
        for kernel, rate in zip(kernels, dilation_rates, strict=True)
    ]
    return ops.concatenate(branches, axis=-1)


def upsample_nearest(x: KerasTensor, factors: Sequence[int]) -> KerasTensor:
    """Repeat the voxels of `x` `(batch, x, y, z, channels)` `factors` times along x, y, z."""
    for axis, factor in enumerate(factors, start=1):
        if factor > 1:
            x = ops.repeat(x, factor, axis=axis)
    return x
