"""The convolution of an up-sampled volume as one transposed convolution of the volume itself.

Up-sampled by `u`, voxel `n` lies at `u n` to `u n + u - 1`, and a tap `o` brings it to `m = u n - o + {0 .. u - 1}`: to
`k + u - 1` places along an axis, by the sum of the taps that reach the place. Strided by `u`, that is the transposed
convolution with the widened kernel (Dumoulin and Visin, A guide to convolution arithmetic, 2016, section 4). Where
k = 3 and u = 2 a voxel of the result costs 8 multiplications a map instead of 27, and nothing is up-sampled.
"""

from collections.abc import Sequence

from keras import KerasTensor, ops


def transposed_convolution(x: KerasTensor, kernel: KerasTensor, upsample: Sequence[int]) -> KerasTensor:
    """Return the convolution, "same" size, of `x` up-sampled to its nearest voxels.

    Equals `dilated_convolutions(upsample_nearest(x, upsample), [kernel], (1,))`.

    Args:
        x: `(batch, x, y, z, channels)`, at the low resolution.
        kernel: `(kx, ky, kz, channels, filters)`, odd sizes.
        upsample: factors of nearest-neighbour up-sampling along x, y, z.

    Returns:
        `(batch, u x, u y, u z, filters)`.
    """
    space = [size * factor for size, factor in zip(ops.shape(x)[1:4], upsample, strict=True)]
    widened = ops.transpose(kernel[::-1, ::-1, ::-1], (0, 1, 2, 4, 3))
    for axis, factor in enumerate(upsample):
        margins = [
            [(0, 0)] * axis + [(before, factor - 1 - before)] + [(0, 0)] * (4 - axis) for before in range(factor)
        ]
        shifted = [ops.pad(widened, margin) for margin in margins]
        widened = sum(shifted[1:], start=shifted[0])
    maps = ops.conv_transpose(x, widened, strides=tuple(upsample), padding="same", data_format="channels_last")
    return ops.reshape(maps, (-1, *space, kernel.shape[-1]))
