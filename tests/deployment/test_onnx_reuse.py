"""Products that an ONNX graph makes once, for all rates and at the low resolution, against SciPy's convolution."""

import numpy as np
import pytest
from small_graphs import convolved, nodes_convolve, run_nodes

from kseg.deployment.onnx_reuse import repeated, reused_sums

TABLE = [
    # (batch, channels, x, y, z), filters, kernel size, rates, up-sampling
    ((1, 1, 4, 4, 4), 4, (3, 3, 3), (1, 2, 3, 4), (2, 2, 2)),
    ((2, 3, 5, 4, 7), 2, (3, 3, 3), (1, 2, 3, 4), (2, 2, 2)),
    ((1, 2, 2, 3, 1), 3, (3, 3, 3), (1, 2, 3, 4), (2, 2, 2)),  # the taps of the large rates lie outside
    ((1, 2, 3, 4, 2), 3, (3, 3, 3), (3, 1, 3), (3, 3, 3)),  # a rate twice
    ((2, 2, 3, 5, 4), 1, (3, 3, 3), (1, 2, 5, 6), (2, 1, 3)),
    ((1, 2, 6, 3, 5), 2, (3, 3, 3), (7,), (1, 2, 1)),
    ((1, 2, 4, 3, 3), 2, (5, 5, 5), (1, 2, 3), (2, 2, 2)),
    ((1, 3, 4, 6, 5), 2, (1, 3, 5), (1, 2, 4), (1, 2, 2)),
    ((1, 3, 5, 4, 6), 2, (3, 3, 3), (1, 2), (1, 1, 1)),
    ((1, 4, 3, 3, 5), 2, (1, 1, 1), (1,), (4, 4, 4)),
]


def all_rates(kernel, bias, rates, factors):
    """The nodes of a layer, whose maps are concatenated."""

    def add(graph):
        sums = reused_sums(graph, "layer", "x", kernel, bias, rates, factors)
        maps = [repeated(graph, f"layer/branch_{number}", one) for number, one in enumerate(sums)]
        return graph.node("Concat", maps, "layer/maps", axis=1)

    return add


@pytest.mark.parametrize(("shape", "filters", "sizes", "rates", "factors"), TABLE)
def test_each_rate_is_the_convolution_of_the_up_sampled_map(shape, filters, sizes, rates, factors):
    def add(kernel, bias):
        return all_rates(kernel, bias, rates, factors)

    def wanted(*of):
        return np.concatenate([convolved(*of, rate, factors) for rate in rates], axis=1)

    nodes_convolve(add, shape, filters, sizes, wanted)


def test_nodes_are_few_and_one_convolution_serves_all_rates():
    kernel, bias, x = np.ones((3, 3, 3, 2, 4)), np.zeros(4), np.zeros((1, 2, 2, 2, 2))

    def nodes(*rates):
        return run_nodes(all_rates(kernel, bias, rates, (2, 2, 2)), x)[1]

    common = 2 + 1  # padding and products, and the joint of all rates
    sizes, repeated_sizes = 1 + 3 + 3 + 2, 1 + 3 * 2  # for three axes; the former with margins
    # 3 axes of 3 slices and 2 sums; all phases coincide, so that voxels are repeated along 3 axes.
    assert nodes(2) == common + 3 * 5 + (2 + 2 + 5) + repeated_sizes
    # 3 axes of 5 slices, since the middle tap is in its place in both phases, and 2 x 2 sums; phases along 3 axes.
    assert nodes(3) == common + 3 * 9 + (2 + 2 + 5) + sizes
    # Rates share slices of the products along x, 7 in all, of which each alone needs 3 or 5; and rates 1 and 3 sizes.
    slices, sums = 7 + 2 * (2 * 3 + 2 * 5), 2 * 3 * (2 + 4)
    assert nodes(1, 2, 3, 4) == common + slices + sums + 4 * (2 + 2 + 5) + sizes + 2 * repeated_sizes


def test_a_value_by_hand():
    # Along z, of rate 3 and twice as fine: voxel m reads x[floor((m - 3) / 2)], x[floor(m / 2)], x[floor((m + 3) / 2)].
    kernel, x = np.zeros((3, 3, 3, 1, 1)), np.array([1.0, 2, 4, 8]).reshape(1, 1, 1, 1, 4)
    kernel[1, 1, :, 0, 0] = 1, 10, 100
    (found,), _ = run_nodes(all_rates(kernel, np.array([0.5]), (3,), (1, 1, 2)), x)
    left, centre, right = [0, 0, 0, 1, 1, 2, 2, 4], [1, 1, 2, 2, 4, 4, 8, 8], [2, 4, 4, 8, 8, 0, 0, 0]
    expected = [0.5 + one + 10 * two + 100 * three for one, two, three in zip(left, centre, right, strict=True)]
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-6)
