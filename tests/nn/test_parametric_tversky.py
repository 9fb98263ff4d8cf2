"""The learned penalties: where they start, where their gradient leads, what bounds and pulls them."""

import numpy as np
import pytest

from kseg import ParametricTversky


def with_logits(difference, **options):
    loss = ParametricTversky(**options)
    loss.build()
    loss.logits.assign([difference, 0.0])
    return loss


def test_parametric_tversky_starts_as_the_dice_loss(random_case, number):
    labels, probabilities = random_case(classes=2)
    truth, predicted = labels == 1, probabilities[..., 1]
    dice = 2 * (truth * predicted).sum() / (truth.sum() + predicted.sum())
    loss = ParametricTversky()
    assert number(loss(labels, probabilities)) == pytest.approx(1 - dice, abs=1e-6)
    assert (number(loss.alpha), number(loss.beta)) == (0.5, 0.5)


@pytest.mark.parametrize("difference", [-2.0, 0.0, 1.5])
def test_the_gradient_of_alpha_is_the_one_on_paper(difference, four_voxels, number):
    # With beta = 1 - alpha: dL/dalpha = TP (FP - FN) / D^2, hence dL/dlogit_0 = that times alpha beta.
    alpha = 1 / (1 + np.exp(-difference))
    tp, fp, fn = 1.3, 0.5, 0.7
    by_formula = tp * (fp - fn) / (tp + alpha * fp + (1 - alpha) * fn) ** 2

    step = 1e-2
    losses = [number(with_logits(difference + sign * step)(*four_voxels)) for sign in (1, -1)]
    alphas = [number(with_logits(difference + sign * step).alpha) for sign in (1, -1)]
    assert (losses[0] - losses[1]) / (alphas[0] - alphas[1]) == pytest.approx(by_formula, rel=1e-3)


def test_descent_moves_weight_away_from_the_larger_error(four_voxels, number):
    # FN 0.7 > FP 0.5: alpha, the weight of FP, must grow, though the loss would be honest with the other sign.
    grown = number(with_logits(0.1)(*four_voxels))
    assert grown < number(with_logits(0.0)(*four_voxels))


def test_bounds_are_reached_but_not_passed(number):
    # softmax(ln 3, 0) = (3/4, 1/4), of which min_weight 0.1 leaves 0.1 + 0.8 * 3/4 = 0.7.
    loss = with_logits(np.log(3), min_weight=0.1)
    assert (number(loss.alpha), number(loss.beta)) == pytest.approx((0.7, 0.3), abs=1e-6)
    loss = with_logits(-80.0, min_weight=0.1)
    assert (number(loss.alpha), number(loss.beta)) == pytest.approx((0.1, 0.9), abs=1e-6)


def test_the_prior_pulls_to_a_half(four_voxels, number):
    # At alpha = 3/4: -log(4 * 3/4 * 1/4) = -log(3/4); at 1/2 it costs nothing.
    pulled, free = with_logits(np.log(3), prior=2.0), with_logits(np.log(3))
    cost = number(pulled(*four_voxels)) - number(free(*four_voxels))
    assert cost == pytest.approx(-2 * np.log(0.75), abs=1e-5)
    assert number(with_logits(0.0, prior=2.0)(*four_voxels)) == pytest.approx(
        number(with_logits(0.0)(*four_voxels)), abs=1e-6
    )


@pytest.mark.parametrize("multiplier", [1.0, 4.0])
def test_the_multiplier_takes_the_logits_so_many_times_as_far(multiplier, number):
    loss = with_logits(0.3, learning_rate_multiplier=multiplier)
    assert number(loss.alpha) == pytest.approx(1 / (1 + np.exp(-0.3 * multiplier)), abs=1e-6)


def test_the_mode_changes_only_the_gradient(four_voxels, number):
    options = {"min_weight": 0.05, "learning_rate_multiplier": 3.0, "prior": 0.2}
    joint, adversarial = (with_logits(0.7, mode=mode, **options) for mode in ("joint", "adversarial"))
    assert number(adversarial(*four_voxels)) == pytest.approx(number(joint(*four_voxels)), abs=1e-6)
    assert number(adversarial.alpha) == pytest.approx(number(joint.alpha), abs=1e-6)


def test_options_survive_their_configuration():
    options = {"mode": "adversarial", "learning_rate_multiplier": 3.0, "min_weight": 0.05, "prior": 0.2}
    twin = ParametricTversky.from_config(ParametricTversky(**options).get_config())
    assert {name: getattr(twin, name) for name in options} == options


@pytest.mark.parametrize(
    "options", [{"mode": "ascent"}, {"learning_rate_multiplier": 0}, {"min_weight": 0.5}, {"prior": -1}]
)
def test_options_outside_their_range_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be .* Received"):
        ParametricTversky(**options)
