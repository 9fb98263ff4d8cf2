"""Phases of an up-sampled convolution that an ONNX graph makes at the low resolution, against SciPy's convolution."""

import pytest
from small_graphs import convolved, nodes_convolve

from kseg.deployment.onnx_phases import convolution_by_phases

TABLE = [
    # (batch, channels, x, y, z), filters, kernel size, up-sampling
    ((1, 1, 4, 5, 3), 4, (3, 3, 3), (2, 2, 2)),
    ((2, 3, 5, 4, 7), 2, (3, 3, 3), (2, 2, 2)),
    ((1, 2, 1, 1, 1), 3, (3, 3, 3), (2, 2, 2)),
    ((2, 2, 4, 3, 2), 2, (3, 3, 3), (2, 1, 2)),
    ((1, 2, 4, 3, 5), 2, (3, 3, 3), (1, 1, 2)),
    ((1, 2, 3, 2, 4), 2, (3, 3, 3), (3, 2, 4)),
    ((1, 2, 4, 3, 5), 2, (5, 3, 7), (2, 2, 3)),
    ((1, 2, 4, 3, 5), 2, (1, 3, 5), (2, 2, 2)),
]


@pytest.mark.parametrize(("shape", "filters", "sizes", "factors"), TABLE)
def test_it_is_the_convolution_of_the_up_sampled_map(shape, filters, sizes, factors):
    def add(kernel, bias):
        return lambda graph: convolution_by_phases(graph, "layer", "x", kernel, bias, factors)

    nodes = nodes_convolve(add, shape, filters, sizes, lambda *of: convolved(*of, 1, factors))
    if factors == (2, 2, 2):
        assert nodes == 1 + 7 + 8 + 4 * 5 + 2 * 2 + 2  # convolution, sizes, slices, phases along z, y and x
