"""Planes that an ONNX graph convolves, and adds to their neighbours, against SciPy's convolution of the volume."""

import pytest
from small_graphs import convolved, nodes_convolve

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
    def add(kernel, bias):
        return lambda graph: convolution_of_planes(graph, "layer", "x", kernel, bias, rate)

    nodes = nodes_convolve(add, shape, filters, sizes, lambda *of: convolved(*of, rate, (1, 1, 1)))
    assert nodes <= 8 + 3 * sizes[0]
