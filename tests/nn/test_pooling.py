"""The loops for max pooling against Keras' own, and against NumPy where values are equal."""

import numpy as np
import pytest
from backend_gradients import value_and_gradients
from keras import ops

from kseg.nn.size_layers import MaxPool3D

SIZES = [(2, 2, 2), (1, 2, 3), (1, 1, 1)]


def pooled(implementation, sizes, x, upstream):
    layer = MaxPool3D(sizes, implementation=implementation)
    return [ops.convert_to_numpy(array) for array in value_and_gradients(layer, [x], upstream)]


@pytest.mark.parametrize("sizes", SIZES)
def test_value_and_gradient_equal_keras_own(sizes):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 4 * 6 * 6 * 3).reshape(2, 4, 6, 6, 3).astype(np.float32)
    upstream = rng.normal(size=MaxPool3D(sizes).compute_output_shape(x.shape)).astype(np.float32)
    for one, other in zip(pooled("reuse", sizes, x, upstream), pooled("direct", sizes, x, upstream), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", SIZES)
def test_of_equal_values_the_first_gets_the_gradient(sizes):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 4, 6, 6, 3)).astype(np.float32)
    upstream = rng.normal(size=MaxPool3D(sizes).compute_output_shape(x.shape)).astype(np.float32)
    expected = np.zeros_like(x)
    for batch, *place, channel in np.ndindex(upstream.shape):
        corner = [number * size for number, size in zip(place, sizes, strict=True)]
        window = (batch, *(slice(c, c + size) for c, size in zip(corner, sizes, strict=True)), channel)
        block = expected[window]
        block[np.unravel_index(np.argmax(x[window]), block.shape)] = upstream[(batch, *place, channel)]
    np.testing.assert_array_equal(pooled("reuse", sizes, x, upstream)[1], expected)
