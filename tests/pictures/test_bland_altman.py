"""Bland-Altman plots: bias and limits worked by hand, points where they belong."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from kseg.pictures.bland_altman import bland_altman, limits_of_agreement
from kseg.volumes.structure_colours import colour_of


def test_bias_and_limits_by_hand():
    # Differences 1, 3, 5: mean 3, standard deviation 2 (two degrees of freedom).
    limits = limits_of_agreement([(10, 11), (20, 23), (30, 35)])
    assert limits == pytest.approx((3.0, 2.0, 3.0 - 1.96 * 2, 3.0 + 1.96 * 2))


def heights(panel):
    return [line.get_ydata()[0] for line in panel.lines]


def test_points_are_difference_over_mean_and_few_cases_have_no_limits():
    ten = [(10, 12), (20, 19)] * 5
    first, second, third = bland_altman({"a": ten, "b": ten[:9], "c": [(5, 4)]}).axes
    np.testing.assert_allclose(first.collections[0].get_offsets(), [(11, 2), (19.5, -1)] * 5)
    spread = 1.96 * np.std([2, -1] * 5, ddof=1)
    np.testing.assert_allclose(heights(first), [0.5, 0.5 - spread, 0.5 + spread, 0])
    np.testing.assert_allclose(heights(second), [(5 * 2 - 4) / 9, 0])
    np.testing.assert_allclose(third.collections[0].get_offsets(), [(4.5, -1)])
    assert heights(third) == [0]


def test_a_class_without_volumes_has_no_panel():
    (panel,) = bland_altman({"a": [], "b": [(5, 4), (3, 3)]}).axes
    assert panel.get_title() == "b"
    assert to_hex(panel.collections[0].get_facecolor()[0]) == colour_of(2).lower()  # as in every other picture
    with pytest.raises(ValueError, match="no volumes"):
        bland_altman({"a": []})
