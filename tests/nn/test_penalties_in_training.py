"""What learning alpha and beta does in `fit`: how fast, where it ends, and what stops it."""

import keras
import numpy as np
import pytest
from keras import ops

from kseg import SegmentationLoss, Segmenter


def overlapping_case(seed=0):
    """Voxels (1, 8, 8, 8, 1) whose brightness tells a foreground of 10 % from the rest only in part."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((1, 8, 8, 8)) < 0.1).astype(np.uint8)
    return (1.5 * labels[..., None] + rng.normal(size=(*labels.shape, 1))).astype(np.float32), labels


def one_voxel_model(optimizer, **options):
    """A model that sees one voxel at a time, so that it cannot avoid errors, only trade them."""
    keras.utils.set_random_seed(0)
    voxels = keras.Input((8, 8, 8, 1))
    network = keras.Model(voxels, keras.layers.Conv3D(2, 1, activation="softmax", name="output")(voxels))
    model = Segmenter(network, SegmentationLoss(**options), ["foreground"])
    model.compile(optimizer)
    return model


def difference_of_logits(model):
    alpha = float(model.segmentation_loss.learned.alpha)
    return np.log(alpha / (1 - alpha))


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_the_multiplier_holds_for_any_optimiser(optimizer):
    moved = []
    for multiplier in (1.0, 4.0):
        model = one_voxel_model(optimizer(0.01), learning_rate_multiplier=multiplier)
        model.fit(*overlapping_case(), epochs=1, verbose=0)
        moved.append(difference_of_logits(model))
    assert abs(moved[0]) > 1e-4
    assert moved[1] == pytest.approx(4 * moved[0], rel=1e-2)


def test_adversarial_penalties_take_the_opposite_step():
    moved = []
    for mode in ("joint", "adversarial"):
        model = one_voxel_model(keras.optimizers.SGD(0.1), mode=mode)
        model.fit(*overlapping_case(), epochs=1, verbose=0)
        moved.append(difference_of_logits(model))
    assert moved[1] == pytest.approx(-moved[0], rel=1e-3)


@pytest.mark.parametrize("mode", ["joint", "adversarial"])
def test_the_prior_pulls_back_in_either_mode(mode):
    model = one_voxel_model(keras.optimizers.SGD(0.1), mode=mode, prior=1.0)
    model.segmentation_loss.learned.logits.assign([2.0, 0.0])
    voxels, labels = overlapping_case()
    model.fit(voxels, np.zeros_like(labels), epochs=5, verbose=0)  # no foreground: the loss itself asks for nothing
    assert 0 < difference_of_logits(model) < 1.9


def errors_and_alpha(**options):
    voxels, labels = overlapping_case()
    model = one_voxel_model(keras.optimizers.SGD(1.0), **options)
    model.fit(np.repeat(voxels, 400, axis=0), np.repeat(labels, 400, axis=0), batch_size=1, epochs=1, verbose=0)
    foreground = ops.convert_to_numpy(model(voxels))[..., 1]
    return (
        foreground[labels == 0].sum(),
        (1 - foreground[labels == 1]).sum(),
        float(model.segmentation_loss.learned.alpha),
    )


def test_equal_errors_are_a_stable_balance_for_adversarial_penalties_alone():
    # The design's analysis: descent runs from FP = FN to a penalty of 0, ascent comes to rest there.
    _, _, alpha = errors_and_alpha(mode="joint")
    assert min(alpha, 1 - alpha) < 0.05
    fp, fn, alpha = errors_and_alpha(mode="adversarial")
    assert fp == pytest.approx(fn, rel=0.02)
    assert 0.6 < alpha < 0.8
    _, _, alpha = errors_and_alpha(mode="joint", min_weight=0.2)
    assert min(alpha, 1 - alpha) == pytest.approx(0.2, abs=0.01)
