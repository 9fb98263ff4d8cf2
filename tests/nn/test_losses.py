"""Losses: hand-worked numbers, finite differences, and what absent classes must not do."""

import keras
import numpy as np
import pytest
from keras import ops

from kseg.nn.losses import cross_entropy, focal_tversky_loss, soft_counts, tversky_index, tversky_loss


def test_soft_counts_by_hand(four_voxels, number):
    tp, fp, fn = (number(count[0]) for count in soft_counts(*four_voxels))
    assert (tp, fp, fn) == pytest.approx((1.3, 0.5, 0.7), abs=1e-6)


def test_tversky_index_by_hand(number):
    # 1.3 / (1.3 + 0.3 * 0.5 + 0.7 * 0.7) = 1.3 / 1.94
    assert number(tversky_index(1.3, 0.5, 0.7, alpha=0.3, beta=0.7)) == pytest.approx(1.3 / 1.94, abs=1e-6)


def test_soft_counts_against_numpy_for_many_classes(random_case):
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


def test_alpha_weighs_false_positives_and_swapping_it_with_beta_swaps_the_errors(number):
    assert number(tversky_index(1.0, 2.0, 0.0, alpha=0.9, beta=0.1)) < number(
        tversky_index(1.0, 2.0, 0.0, alpha=0.1, beta=0.9)
    )
    for alpha in (0.1, 0.3, 0.8):
        straight = number(tversky_index(1.3, 0.5, 0.7, alpha, 1 - alpha))
        swapped = number(tversky_index(1.3, 0.7, 0.5, 1 - alpha, alpha))
        assert straight == pytest.approx(swapped, abs=1e-7)


def test_an_absent_class_neither_rewards_nor_punishes(random_case, number):
    labels, probabilities = random_case(classes=3)
    labels[labels == 2] = 0
    loss = number(tversky_loss(labels, probabilities, 0.5, 0.5))
    tp, fp, fn = (ops.convert_to_numpy(count)[0] for count in soft_counts(labels, probabilities))
    assert loss == pytest.approx(1 - tp / (tp + 0.5 * fp + 0.5 * fn), abs=1e-6)
    more = probabilities.copy()  # more or less of the absent class, taken from the background: no difference
    more[..., 2], more[..., 0] = 0.0, probabilities[..., 0] + probabilities[..., 2]
    assert number(tversky_loss(labels, more, 0.5, 0.5)) == pytest.approx(loss, abs=1e-6)


def test_a_batch_without_foreground_has_no_loss_and_divides_by_nothing(random_case, number):
    _, probabilities = random_case()
    assert number(tversky_loss(np.zeros((2, 5, 4, 3)), probabilities, 0.5, 0.5)) == 0.0


def test_k_classes_give_the_mean_over_the_foreground(random_case, number):
    labels, probabilities = random_case(classes=4)
    tp, fp, fn = (ops.convert_to_numpy(count) for count in soft_counts(labels, probabilities))
    assert number(tversky_loss(labels, probabilities, 0.3, 0.7)) == pytest.approx(
        np.mean(1 - tp / (tp + 0.3 * fp + 0.7 * fn)), abs=1e-6
    )


def test_soft_sums_run_over_the_batch_not_the_volume(random_case, number):
    labels, probabilities = random_case(batch=2)
    together = number(tversky_loss(labels, probabilities, 0.5, 0.5))
    apart = np.mean([number(tversky_loss(labels[i : i + 1], probabilities[i : i + 1], 0.5, 0.5)) for i in (0, 1)])
    stacked = [np.concatenate(list(array))[None] for array in (labels, probabilities)]
    assert together == pytest.approx(number(tversky_loss(*stacked, 0.5, 0.5)), abs=1e-6)
    assert together != pytest.approx(apart, abs=1e-6)


def test_cross_entropy_by_hand(four_voxels, number):
    expected = -np.mean(np.log([0.9, 0.4, 0.7, 0.8]))
    assert number(cross_entropy(*four_voxels)) == pytest.approx(expected, abs=1e-6)


def test_half_precision_sums_in_float32(number):
    # 60,000 voxels of 0.9: float16 cannot even hold the sum's order of magnitude well, and stops counting at 2048.
    labels = np.ones((1, 60_000, 1, 1), np.uint8)
    probabilities = ops.cast(np.broadcast_to(np.array([0.1, 0.9], np.float32), (1, 60_000, 1, 1, 2)), "float16")
    tp, _, fn = (number(count[0]) for count in soft_counts(labels, probabilities))
    assert tp == pytest.approx(54_000, rel=1e-3)
    assert tp + fn == pytest.approx(60_000, rel=1e-6)


def test_the_focal_tversky_loss_by_hand(four_voxels, random_case, number):
    # 1 - TI = 1 - 1.3 / 1.94; gamma 4/3 raises it to 3/4, gamma 1 leaves it.
    loss = 1 - 1.3 / 1.94
    assert number(focal_tversky_loss(*four_voxels, 0.3, 0.7, 4 / 3)) == pytest.approx(loss**0.75, abs=1e-6)
    assert number(focal_tversky_loss(*four_voxels, 0.3, 0.7, 1.0)) == pytest.approx(loss, abs=1e-6)
    labels, probabilities = random_case(classes=3)
    tp, fp, fn = (ops.convert_to_numpy(count) for count in soft_counts(labels, probabilities))
    by_class = (1 - tp / (tp + 0.3 * fp + 0.7 * fn)) ** 0.75
    assert number(focal_tversky_loss(labels, probabilities, 0.3, 0.7)) == pytest.approx(by_class.mean(), abs=1e-6)
    labels[labels == 2] = 0  # an absent class takes no part
    tp, fp, fn = (ops.convert_to_numpy(count)[0] for count in soft_counts(labels, probabilities))
    expected = (1 - tp / (tp + 0.3 * fp + 0.7 * fn)) ** 0.75
    assert number(focal_tversky_loss(labels, probabilities, 0.3, 0.7)) == pytest.approx(expected, abs=1e-6)


def test_the_keras_loss_of_the_same_name_has_alpha_and_beta_swapped(four_voxels, number):
    labels, probabilities = four_voxels
    # A trap worth a test: whoever replaces ours by Keras' gets the opposite of what the recipe says.
    one_hot = np.eye(2, dtype=np.float32)[labels]
    theirs = keras.losses.Tversky(alpha=0.3, beta=0.7, axis=None)(one_hot[..., 1], probabilities[..., 1])
    ours_swapped = tversky_loss(*four_voxels, alpha=0.7, beta=0.3)
    assert number(theirs) == pytest.approx(number(ours_swapped), abs=1e-3)
