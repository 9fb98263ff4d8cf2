"""One transposed convolution against that of the up-sampled volume: values and gradients, on both backends."""

import keras
import numpy as np
import pytest
from backend_gradients import value_and_gradients

from kseg.nn.convolution import dilated_convolutions, upsample_nearest
from kseg.nn.transposed_convolution import transposed_convolution

TABLE = [
    # (batch, x, y, z, channels), kernel size, up-sampling
    ((2, 4, 5, 3, 3), (3, 3, 3), (2, 2, 2)),
    ((1, 3, 4, 2, 2), (3, 3, 3), (3, 3, 3)),
    ((1, 3, 5, 4, 2), (3, 3, 3), (2, 1, 3)),
    ((1, 4, 3, 3, 2), (5, 5, 5), (2, 2, 2)),
    ((1, 2, 1, 3, 2), (3, 3, 3), (4, 4, 4)),
    ((2, 4, 6, 5, 2), (1, 3, 5), (1, 2, 2)),
]


@pytest.mark.parametrize(("shape", "size", "upsample"), TABLE)
def test_it_equals_the_convolution_of_the_up_sampled_volume(shape, size, upsample):
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype("float32")
    kernel = rng.normal(size=(*size, shape[-1], 4)).astype("float32")
    space = [n * factor for n, factor in zip(shape[1:4], upsample, strict=True)]
    upstream = rng.normal(size=(shape[0], *space, 4)).astype("float32")

    def plain(x, kernel):
        return dilated_convolutions(upsample_nearest(x, upsample), [kernel], (1,))

    expected = value_and_gradients(plain, [x, kernel], upstream)
    received = value_and_gradients(lambda x, kernel: transposed_convolution(x, kernel, upsample), [x, kernel], upstream)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_one_voxel_reaches_its_neighbours_by_the_sum_of_the_taps_that_meet_there():
    """By hand, along z: a kernel (1, 10, 100) and a voxel of 1 between zeros, twice as fine."""
    x = np.zeros((1, 1, 1, 3, 1), "float32")
    x[0, 0, 0, 1] = 1
    kernel = np.zeros((3, 3, 3, 1, 1), "float32")
    kernel[1, 1, :, 0, 0] = [1, 10, 100]
    maps = keras.ops.convert_to_numpy(transposed_convolution(x, kernel, (1, 1, 2)))
    np.testing.assert_array_equal(maps.ravel(), [0, 100, 110, 11, 1, 0])
