"""The sum of terms: each counts as often as its weight says, and learned penalties are made with their options."""

import pytest

from kseg import SegmentationLoss
from kseg.nn.losses import cross_entropy, focal_tversky_loss, tversky_loss


def test_the_sum_of_terms_is_weighted(random_case, number):
    labels, probabilities = random_case()
    loss = SegmentationLoss(
        parametric_tversky=0.0, tversky=0.5, dice=2.0, cross_entropy=0.25, focal_tversky=0.7, gamma=2, alpha=0.3
    )
    expected = (
        0.5 * number(tversky_loss(labels, probabilities, 0.3, 0.7))
        + 2.0 * number(tversky_loss(labels, probabilities, 0.5, 0.5))
        + 0.25 * number(cross_entropy(labels, probabilities))
        + 0.7 * number(focal_tversky_loss(labels, probabilities, 0.3, 0.7, 2))
    )
    assert number(loss(labels, probabilities)) == pytest.approx(expected, rel=1e-5)
    assert loss.weights == []
    twin = SegmentationLoss.from_config(loss.get_config())
    assert number(twin(labels, probabilities)) == pytest.approx(expected, rel=1e-5)


def test_options_reach_the_learned_penalties(random_case, number):
    options = {"mode": "adversarial", "learning_rate_multiplier": 3.0, "min_weight": 0.05, "prior": 0.2}
    loss = SegmentationLoss(**options, dice=1.0)
    twin = SegmentationLoss.from_config(loss.get_config())
    for made in (loss, twin):
        assert {name: getattr(made.learned, name) for name in options} == options
    made_of = number(loss.learned(*random_case())) + number(tversky_loss(*random_case(), 0.5, 0.5))
    assert number(loss(*random_case())) == pytest.approx(made_of, rel=1e-5)
