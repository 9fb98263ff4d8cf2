"""Bland-Altman plots: bias and limits worked by hand, points where they belong."""

import numpy as np
import pytest

from kseg.pictures.bland_altman import bland_altman, limits_of_agreement


def test_bias_and_limits_by_hand():
    # Differences 1, 3, 5: mean 3, standard deviation 2 (two degrees of freedom).
    limits = limits_of_agreement([(10, 11), (20, 23), (30, 35)])
    assert limits == pytest.approx((3.0, 3.0 - 1.96 * 2, 3.0 + 1.96 * 2))


def test_points_are_difference_over_mean_and_one_case_has_no_limits():
    figure = bland_altman({"a": [(10, 12), (20, 19)], "b": [(5, 4)]})
    first, second = figure.axes
    np.testing.assert_allclose(first.collections[0].get_offsets(), [(11, 2), (19.5, -1)])
    heights = [line.get_ydata()[0] for line in first.lines]
    spread = 1.96 * np.std([2, -1], ddof=1)
    np.testing.assert_allclose(heights, [0.5, 0.5 - spread, 0.5 + spread, 0])
    np.testing.assert_allclose(second.collections[0].get_offsets(), [(4.5, -1)])
    assert [line.get_ydata()[0] for line in second.lines] == [0]
