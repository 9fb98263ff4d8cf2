"""Losses: hand-worked numbers, finite differences, and what absent classes must not do."""

import keras
import numpy as np
import pytest
from keras import ops

from kseg.nn.losses import (
    ParametricTversky,
    SegmentationLoss,
    cross_entropy,
    soft_counts,
    tversky_index,
    tversky_loss,
)

# Four voxels, two classes: TP = 0.9 + 0.4 = 1.3, FP = 0.3 + 0.2 = 0.5, FN = 0.1 + 0.6 = 0.7.
LABELS = np.array([1, 1, 0, 0]).reshape(1, 4, 1, 1)
FOREGROUND = np.array([0.9, 0.4, 0.3, 0.2], np.float32)
PROBABILITIES = np.stack([1 - FOREGROUND, FOREGROUND], axis=-1).reshape(1, 4, 1, 1, 2)


def number(value):
    return float(ops.convert_to_numpy(value))


def with_logits(difference):
    loss = ParametricTversky()
    loss.build()
    loss.logits.assign([difference, 0.0])
    return loss


def random_case(classes=4, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (batch, 5, 4, 3))
    return labels, rng.dirichlet(np.ones(classes), labels.shape).astype(np.float32)


def test_soft_counts_by_hand():
    tp, fp, fn = (number(count[0]) for count in soft_counts(LABELS, PROBABILITIES))
    assert (tp, fp, fn) == pytest.approx((1.3, 0.5, 0.7), abs=1e-6)


def test_tversky_index_by_hand():
    # 1.3 / (1.3 + 0.3 * 0.5 + 0.7 * 0.7) = 1.3 / 1.94
    assert number(tversky_index(1.3, 0.5, 0.7, alpha=0.3, beta=0.7)) == pytest.approx(1.3 / 1.94, abs=1e-6)


def test_soft_counts_against_numpy_for_many_classes():
    labels, probabilities = random_case()
    truth = np.eye(4)[labels][..., 1:]
    predicted = probabilities[..., 1:]
    expected = [
        (truth * predicted).sum((0, 1, 2, 3)),
        ((1 - truth) * predicted).sum((0, 1, 2, 3)),
        (truth * (1 - predicted)).sum((0, 1, 2, 3)),
    ]
    for counted, by_hand in zip(soft_counts(labels, probabilities), expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(counted), by_hand, rtol=1e-5)


def test_parametric_tversky_starts_as_the_dice_loss():
    labels, probabilities = random_case(classes=2)
    truth, predicted = labels == 1, probabilities[..., 1]
    dice = 2 * (truth * predicted).sum() / (truth.sum() + predicted.sum())
    loss = ParametricTversky()
    assert number(loss(labels, probabilities)) == pytest.approx(1 - dice, abs=1e-6)
    assert (number(loss.alpha), number(loss.beta)) == (0.5, 0.5)


def test_alpha_weighs_false_positives_and_swapping_it_with_beta_swaps_the_errors():
    assert number(tversky_index(1.0, 2.0, 0.0, alpha=0.9, beta=0.1)) < number(
        tversky_index(1.0, 2.0, 0.0, alpha=0.1, beta=0.9)
    )
    for alpha in (0.1, 0.3, 0.8):
        straight = number(tversky_index(1.3, 0.5, 0.7, alpha, 1 - alpha))
        swapped = number(tversky_index(1.3, 0.7, 0.5, 1 - alpha, alpha))
        assert straight == pytest.approx(swapped, abs=1e-7)


@pytest.mark.parametrize("difference", [-2.0, 0.0, 1.5])
def test_the_gradient_of_alpha_is_the_one_on_paper(difference):
    # With beta = 1 - alpha: dL/dalpha = TP (FP - FN) / D^2, hence dL/dlogit_0 = that times alpha beta.
    alpha = 1 / (1 + np.exp(-difference))
    tp, fp, fn = 1.3, 0.5, 0.7
    by_formula = tp * (fp - fn) / (tp + alpha * fp + (1 - alpha) * fn) ** 2

    step = 1e-2
    losses = [number(with_logits(difference + sign * step)(LABELS, PROBABILITIES)) for sign in (1, -1)]
    alphas = [number(with_logits(difference + sign * step).alpha) for sign in (1, -1)]
    assert (losses[0] - losses[1]) / (alphas[0] - alphas[1]) == pytest.approx(by_formula, rel=1e-3)


def test_descent_moves_weight_away_from_the_larger_error():
    # FN 0.7 > FP 0.5: alpha, the weight of FP, must grow, though the loss would be honest with the other sign.
    grown = number(with_logits(0.1)(LABELS, PROBABILITIES))
    assert grown < number(with_logits(0.0)(LABELS, PROBABILITIES))


def test_an_absent_class_neither_rewards_nor_punishes():
    labels, probabilities = random_case(classes=3)
    labels[labels == 2] = 0
    loss = number(tversky_loss(labels, probabilities, 0.5, 0.5))
    tp, fp, fn = (ops.convert_to_numpy(count)[0] for count in soft_counts(labels, probabilities))
    assert loss == pytest.approx(1 - tp / (tp + 0.5 * fp + 0.5 * fn), abs=1e-6)
    more = probabilities.copy()  # more or less of the absent class, taken from the background: no difference
    more[..., 2], more[..., 0] = 0.0, probabilities[..., 0] + probabilities[..., 2]
    assert number(tversky_loss(labels, more, 0.5, 0.5)) == pytest.approx(loss, abs=1e-6)


def test_a_batch_without_foreground_has_no_loss_and_divides_by_nothing():
    _, probabilities = random_case()
    assert number(tversky_loss(np.zeros((2, 5, 4, 3)), probabilities, 0.5, 0.5)) == 0.0


def test_k_classes_give_the_mean_over_the_foreground():
    labels, probabilities = random_case(classes=4)
    tp, fp, fn = (ops.convert_to_numpy(count) for count in soft_counts(labels, probabilities))
    assert number(tversky_loss(labels, probabilities, 0.3, 0.7)) == pytest.approx(
        np.mean(1 - tp / (tp + 0.3 * fp + 0.7 * fn)), abs=1e-6
    )


def test_soft_sums_run_over_the_batch_not_the_volume():
    labels, probabilities = random_case(batch=2)
    together = number(tversky_loss(labels, probabilities, 0.5, 0.5))
    apart = np.mean([number(tversky_loss(labels[i : i + 1], probabilities[i : i + 1], 0.5, 0.5)) for i in (0, 1)])
    stacked = [np.concatenate(list(array))[None] for array in (labels, probabilities)]
    assert together == pytest.approx(number(tversky_loss(*stacked, 0.5, 0.5)), abs=1e-6)
    assert together != pytest.approx(apart, abs=1e-6)


def test_cross_entropy_by_hand():
    expected = -np.mean(np.log([0.9, 0.4, 0.7, 0.8]))
    assert number(cross_entropy(LABELS, PROBABILITIES)) == pytest.approx(expected, abs=1e-6)


def test_half_precision_sums_in_float32():
    # 60,000 voxels of 0.9: float16 cannot even hold the sum's order of magnitude well, and stops counting at 2048.
    labels = np.ones((1, 60_000, 1, 1), np.uint8)
    probabilities = ops.cast(np.broadcast_to(np.array([0.1, 0.9], np.float32), (1, 60_000, 1, 1, 2)), "float16")
    tp, _, fn = (number(count[0]) for count in soft_counts(labels, probabilities))
    assert tp == pytest.approx(54_000, rel=1e-3)
    assert tp + fn == pytest.approx(60_000, rel=1e-6)


def test_the_sum_of_terms_is_weighted():
    labels, probabilities = random_case()
    loss = SegmentationLoss(parametric_tversky=0.0, tversky=0.5, dice=2.0, cross_entropy=0.25, alpha=0.3)
    expected = (
        0.5 * number(tversky_loss(labels, probabilities, 0.3, 0.7))
        + 2.0 * number(tversky_loss(labels, probabilities, 0.5, 0.5))
        + 0.25 * number(cross_entropy(labels, probabilities))
    )
    assert number(loss(labels, probabilities)) == pytest.approx(expected, rel=1e-5)
    assert loss.weights == []
    twin = SegmentationLoss.from_config(loss.get_config())
    assert number(twin(labels, probabilities)) == pytest.approx(expected, rel=1e-5)


def test_the_keras_loss_of_the_same_name_has_alpha_and_beta_swapped():
    # A trap worth a test: whoever replaces ours by Keras' gets the opposite of what the recipe says.
    one_hot = np.eye(2, dtype=np.float32)[LABELS]
    theirs = keras.losses.Tversky(alpha=0.3, beta=0.7, axis=None)(one_hot[..., 1], PROBABILITIES[..., 1])
    ours_swapped = tversky_loss(LABELS, PROBABILITIES, alpha=0.7, beta=0.3)
    assert number(theirs) == pytest.approx(number(ours_swapped), abs=1e-3)
