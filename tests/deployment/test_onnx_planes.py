"""Planes that an ONNX graph convolves, and adds to their neighbours, against SciPy's convolution of the volume."""

import numpy as np
import pytest
from small_graphs import convolved, run_nodes

from kseg.deployment.onnx_planes import convolution_of_planes

TABLE = [
    # (batch, channels, x, y, z), filters, kernel size, rate
    ((1, 16, 5, 6, 7), 4, (3, 3, 3), 1),
    ((2, 16, 4, 5, 3), 16, (3, 3, 3), 3),
    ((2, 17, 6, 3, 4), 5, (3, 3, 3), 2),
    ((1, 1, 5, 4, 6), 3, (3, 3, 3), 1),
    ((2, 3, 2, 1, 3), 2, (3, 3, 3), 4),  # less than a rate
    ((1, 2, 1, 4, 4), 2, (3, 3, 3), 1),
    ((1, 2, 7, 5, 6), 2, (5, 3, 1), 2),
    ((2, 4, 3, 4, 5), 3, (1, 3, 5), 1),
]


@pytest.mark.parametrize(("shape", "filters", "sizes", "rate"), TABLE)
def test_it_is_the_convolution_of_the_volume(shape, filters, sizes, rate):
    rng = np.random.default_rng(0)
    x, larger = rng.normal(size=shape), rng.normal(size=(1, shape[1], *(size + 3 for size in shape[2:])))
    kernel, bias = rng.normal(size=(*sizes, shape[1], filters)), rng.normal(size=filters)
    found, nodes = run_nodes(lambda graph: convolution_of_planes(graph, "layer", "x", kernel, bias, rate), x, larger)
    for one, volume in zip(found, (x, larger), strict=True):
        wanted = convolved(volume, kernel, bias, rate, (1, 1, 1))
        np.testing.assert_allclose(one, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert nodes <= 8 + 3 * sizes[0]
