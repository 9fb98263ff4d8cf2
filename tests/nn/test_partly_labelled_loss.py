"""Voxels that nobody labelled count nowhere: losses, gradients and scores are those of the batch without them."""

import keras
import numpy as np
import pytest
from backend_gradients import value_and_gradients
from keras import ops

from kseg import ParametricTversky, SegmentationLoss
from kseg.nn.losses import cross_entropy, soft_counts, tversky_loss
from kseg.nn.metrics import SegmentationScores

CLASSES = 4
TERMS = ("parametric_tversky", "tversky", "focal_tversky", "dice", "cross_entropy")


@pytest.fixture
def partly(random_case):
    """Labels of which a third are `CLASSES`, the probabilities, and where somebody labelled."""
    labels, probabilities = random_case(classes=CLASSES)
    labelled = np.random.default_rng(1).random(labels.shape) > 1 / 3
    return np.where(labelled, labels, CLASSES), probabilities, labelled


def cut_out(labels, probabilities, labelled):
    """The batch without the voxels that nobody labelled, as one row."""
    kept = labels[labelled].reshape(1, -1, 1, 1)
    return kept, probabilities[labelled].reshape(*kept.shape, CLASSES)


def test_counts_and_losses_against_numpy(partly, number):
    labels, probabilities, labelled = partly
    known, predicted = labels[labelled], probabilities[labelled].astype(np.float64)
    truth = np.eye(CLASSES)[known]
    tp, fp, fn = ((a * b).sum(0)[1:] for a, b in [(truth, predicted), (1 - truth, predicted), (truth, 1 - predicted)])
    for counted, by_hand in zip(soft_counts(labels, probabilities, partly_labelled=True), (tp, fp, fn), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(counted), by_hand, rtol=1e-6)
    tversky = np.mean(1 - tp / (tp + 0.3 * fp + 0.7 * fn))
    assert number(tversky_loss(labels, probabilities, 0.3, 0.7, partly_labelled=True)) == pytest.approx(tversky, 1e-6)
    nats = -np.log((truth * predicted).sum(-1)).mean()
    assert number(cross_entropy(labels, probabilities, partly_labelled=True)) == pytest.approx(nats, 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("term", TERMS)
def test_loss_and_gradient_are_those_of_the_labelled_voxels_alone(term, dtype, partly):
    labels, probabilities, labelled = partly
    probabilities = ops.convert_to_numpy(ops.cast(ops.cast(probabilities, dtype), "float32"))
    weights = {**dict.fromkeys(TERMS, 0.0), term: 1.0}
    masked, whole = SegmentationLoss(**weights, partly_labelled=True), SegmentationLoss(**weights)
    kept_labels, kept = cut_out(labels, probabilities, labelled)

    def of(loss, truth):
        return lambda maps: loss(truth, ops.cast(maps, dtype))

    loss, gradient = value_and_gradients(of(masked, labels), [probabilities], np.float32(1))
    expected, expected_gradient = value_and_gradients(of(whole, kept_labels), [kept], np.float32(1))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    gradient = ops.convert_to_numpy(gradient)
    assert (gradient[~labelled] == 0).all()
    # A gradient in bfloat16 has eight bits; but for those it is the same number.
    tolerance = 1e-5 if dtype == "float32" else 2**-8
    np.testing.assert_allclose(gradient[labelled], np.squeeze(expected_gradient), rtol=tolerance, atol=1e-9)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow: its tape watches the logits")
def test_learned_penalties_move_as_by_the_labelled_voxels_alone(partly):
    import tensorflow as tf

    labels, probabilities, labelled = partly
    labels[(labels < CLASSES) & (probabilities[..., 0] > 0.1)] = 0  # far from FP = FN, where the slope is 0
    gradients = []
    batches = (labels, probabilities), cut_out(labels, probabilities, labelled)
    for options, batch in zip(({"partly_labelled": True}, {}), batches, strict=True):
        loss = ParametricTversky(**options)
        loss.build()
        with tf.GradientTape() as tape:
            value = loss(*batch)
        gradients.append(tape.gradient(value, loss.logits.value).numpy())
    assert np.abs(gradients[1]).max() > 1e-3
    np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_scores_are_those_of_the_labelled_voxels_alone(partly, number):
    labels, probabilities, labelled = partly
    names = [f"class_{index}" for index in range(1, CLASSES)]
    masked, whole = SegmentationScores(names, partly_labelled=True), SegmentationScores(names)
    masked.update_state(labels, probabilities)
    whole.update_state(*cut_out(labels, probabilities, labelled))
    expected = whole.result()
    for name, score in masked.result().items():
        assert number(score) == pytest.approx(number(expected[name]), rel=1e-6), name


def test_a_batch_that_nobody_labelled_has_no_loss_and_divides_by_nothing(partly, number):
    _, probabilities, _ = partly
    nothing = np.full(probabilities.shape[:-1], CLASSES)
    loss = SegmentationLoss(parametric_tversky=1, focal_tversky=1, cross_entropy=1, partly_labelled=True)
    value, gradient = value_and_gradients(lambda maps: loss(nothing, maps), [probabilities], np.float32(1))
    assert number(value) == 0.0
    assert (ops.convert_to_numpy(gradient) == 0).all()


def test_a_saved_loss_keeps_the_choice():
    loss = SegmentationLoss(partly_labelled=True)
    again = SegmentationLoss.from_config(loss.get_config())
    assert again.partly_labelled and again.learned.partly_labelled
    assert SegmentationScores.from_config(SegmentationScores(["a"], partly_labelled=True).get_config()).partly_labelled
