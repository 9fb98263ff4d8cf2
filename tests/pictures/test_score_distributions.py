"""Distributions of scores: the points are the scores, the box their quartiles."""

import numpy as np
import pytest

from kseg.pictures.score_distributions import LEAST_CASES, score_distributions

DICE = {"soleus": [0.5, 0.6, 0.7, 0.8, 0.9], "medialis": [0.9, 0.8]}


def test_each_panel_has_the_scores_of_each_class_in_its_row():
    dice, distance = score_distributions({"Dice": DICE, "HD95 mm": {"soleus": [2.0], "medialis": []}}).axes
    for row, points in enumerate(dice.collections[:1] + dice.collections[-1:]):
        found = points.get_offsets()
        np.testing.assert_allclose(found[:, 0], list(DICE.values())[row])
        assert np.abs(found[:, 1] - row).max() < 0.5
    assert [label.get_text() for label in dice.get_yticklabels()] == list(DICE)
    np.testing.assert_allclose(distance.collections[0].get_offsets(), [(2.0, 0.0)])


def test_a_box_goes_from_quartile_to_quartile_where_there_are_enough_cases():
    (panel,) = score_distributions({"Dice": DICE}).axes
    (box,) = panel.patches  # of the first class alone
    assert len(DICE["medialis"]) < LEAST_CASES
    assert (box.get_x(), box.get_width()) == pytest.approx((0.6, 0.2))
    (median,) = panel.collections[1].get_segments()
    assert median[:, 0] == pytest.approx([0.7, 0.7])


def test_without_a_score_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="no scores to draw"):
        score_distributions({})
