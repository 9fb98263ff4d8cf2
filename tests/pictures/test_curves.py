"""Curves: a line is the mean over seeds as far as all go, a band their range; losses without penalties draw none."""

import numpy as np
import pytest

from kseg.pictures.curves import RunCurves, training_curves


def run(dice, epochs=(0, 1, 2), **more):
    history = {"epoch": epochs[: len(dice)], "val_loss": [1 - value for value in dice], "val_dice": dice, **more}
    return RunCurves(history, precision=np.array([0.2, 1.0]), recall=np.array([1.0, 0.4]))


def test_lines_are_means_and_bands_go_from_least_to_greatest():
    seeds = [run([0.2, 0.4, 0.8]), run([0.4, 0.8])]
    loss, dice, precision = training_curves({"a": seeds}).axes
    np.testing.assert_allclose(dice.lines[0].get_xydata(), [(1, 0.3), (2, 0.6)])
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [0.7, 0.4])
    band = dice.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.round(6)} >= {(1, 0.2), (1, 0.4), (2, 0.4), (2, 0.8)}
    np.testing.assert_allclose(precision.lines[0].get_xydata(), [(1.0, 0.2), (0.4, 1.0)])


def test_runs_that_were_validated_after_other_epochs_are_compared_at_the_same_ones():
    seeds = [run([0.2, 0.4, 0.8], epochs=(0, 2, 4)), run([0.2, 0.6], epochs=(0, 4))]
    line = training_curves({"a": seeds}).axes[1].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [(1, 0.2), (3, (0.4 + 0.4) / 2), (5, (0.8 + 0.6) / 2)])


def test_a_first_value_far_off_does_not_squeeze_the_rest():
    rest = [0.80 + 0.01 * number for number in range(11)]
    curves = run([0.0, *rest], epochs=tuple(range(12)))
    loss, dice, _ = training_curves({"": [curves]}).axes
    assert dice.get_ylim() == pytest.approx((0.79, 0.91))
    assert loss.get_ylim() == pytest.approx((0.09, 0.21))
    assert training_curves({"": [run([0.0, 0.5, 0.8])]}).axes[1].get_ylim() == pytest.approx(
        (-0.048, 0.848)
    )  # of few all


def test_alpha_and_beta_are_drawn_where_they_are_learned():
    runs = {"learned": [run([0.2, 0.4], alpha=[0.5, 0.3], beta=[0.5, 0.7])], "dice": [run([0.2, 0.4])]}
    penalties = training_curves(runs).axes[3]
    drawn = {line.get_label(): list(line.get_ydata()) for line in penalties.lines}
    assert drawn == {"alpha, learned": [0.5, 0.3], "beta, learned": [0.5, 0.7]}


@pytest.mark.parametrize("epochs", [(0,), (0, 1), (0, 1, 2), tuple(range(40))])
def test_epochs_on_an_axis_are_whole(epochs):
    many = len(epochs)
    curves = run([0.5] * many, epochs=epochs, alpha=[0.5] * many, beta=[0.5] * many)
    loss, dice, _, penalties = training_curves({"": [curves]}).axes
    for panel in (loss, dice, penalties):
        assert all(tick == int(tick) for tick in panel.get_xticks())


def test_a_single_run_without_a_name_has_no_legend_but_for_its_penalties():
    loss, *_, penalties = training_curves({"": [run([0.2, 0.4], alpha=[0.5, 0.3], beta=[0.5, 0.7])]}).axes
    assert loss.get_legend() is None
    assert [text.get_text() for text in penalties.get_legend().get_texts()] == ["alpha", "beta"]
