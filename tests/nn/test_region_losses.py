"""Losses, scores and networks of regions: each region is a two-class problem, whose losses are tested elsewhere."""

import keras
import numpy as np
import pytest
from backend_gradients import value_and_gradients
from keras import ops

from kseg import SegmentationLoss, Segmenter, build_network
from kseg.nn.deep_supervision import lower_resolution, supervised_network
from kseg.nn.losses import cross_entropy, soft_counts
from kseg.nn.metrics import SegmentationScores
from kseg.nn.networks import with_options

REGIONS = ((1, 2, 3), (2, 3), (3,))
NOBODY = 4
TERMS = ("parametric_tversky", "tversky", "focal_tversky", "dice", "cross_entropy")


@pytest.fixture
def overlapping():
    """Labels of four classes, and probabilities of three regions that have nothing to do with each other."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, (2, 5, 4, 3)), rng.random((2, 5, 4, 3, 3)).astype(np.float32)


def two_classes(labels, probabilities, number):
    """A region against the rest, as labels 0 and 1, and probabilities of both."""
    likely = probabilities[..., number]
    return np.isin(labels, REGIONS[number]).astype(np.int64), ops.stack([1 - likely, likely], axis=-1)


@pytest.mark.parametrize("term", TERMS)
def test_loss_and_gradient_are_the_means_of_each_region_against_the_rest(term, overlapping):
    labels, probabilities = overlapping
    weights = {**dict.fromkeys(TERMS, 0.0), term: 1.0, "alpha": 0.3}
    together, alone = SegmentationLoss(**weights, regions=REGIONS), SegmentationLoss(**weights)

    def mean(maps):
        return sum(alone(*two_classes(labels, maps, number)) for number in range(3)) / 3

    loss, gradient = value_and_gradients(lambda maps: together(labels, maps), [probabilities], np.float32(1))
    expected, expected_gradient = value_and_gradients(mean, [probabilities], np.float32(1))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-8)


def test_counts_and_nats_by_hand(number):
    """One voxel of each class: the outer region has three of them, the inner one."""
    labels = np.array([0, 1, 2, 3]).reshape(1, 4, 1, 1)
    outer, middle, inner = [0.2, 0.9, 0.8, 0.5], [0.0, 0.5, 0.5, 1.0], [0.1, 0.2, 0.3, 0.4]
    probabilities = np.array([outer, middle, inner], np.float32).T.reshape(1, 4, 1, 1, 3)
    found, wrong, missed = (ops.convert_to_numpy(c) for c in soft_counts(labels, probabilities, regions=REGIONS))
    np.testing.assert_allclose(found, [2.2, 1.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(wrong, [0.2, 0.5, 0.6], rtol=1e-6)
    np.testing.assert_allclose(missed, [0.8, 0.5, 0.6], rtol=1e-6)
    likely = [0.8, 0.9, 0.8, 0.5, 1.0, 0.5, 0.5, 1.0, 0.9, 0.8, 0.7, 0.4]
    nats = -np.log(likely).mean()
    assert number(cross_entropy(labels, probabilities, regions=REGIONS)) == pytest.approx(nats, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("term", TERMS)
def test_what_nobody_labelled_is_as_if_it_were_cut_out(term, dtype, overlapping):
    labels, probabilities = overlapping
    labelled = np.random.default_rng(1).random(labels.shape) > 1 / 3
    kept = labels[labelled].reshape(1, -1, 1, 1)
    weights = {**dict.fromkeys(TERMS, 0.0), term: 1.0}
    masked = SegmentationLoss(**weights, partly_labelled=True, regions=REGIONS)
    whole = SegmentationLoss(**weights, regions=REGIONS)
    partly = np.where(labelled, labels, NOBODY)
    half = ops.cast(probabilities, dtype)
    expected = whole(kept, ops.reshape(half[labelled], (*kept.shape, 3)))
    np.testing.assert_allclose(masked(partly, half), expected, rtol=1e-6)
    _, gradient = value_and_gradients(lambda maps: masked(partly, maps), [probabilities], np.float32(1))
    gradient = ops.convert_to_numpy(gradient)
    assert (gradient[~labelled] == 0).all()
    assert (gradient[labelled] != 0).all()


def test_scores_are_those_of_each_region_above_one_half(overlapping, number):
    labels, probabilities = overlapping
    scores = SegmentationScores(["whole", "core", "enhancing"], regions=REGIONS)
    scores.update_state(labels, probabilities)
    found = scores.result()
    dice = []
    for name, members, maps in zip(scores.class_names, REGIONS, np.moveaxis(probabilities, -1, 0), strict=True):
        truth, predicted = np.isin(labels, members), maps > 0.5
        dice.append(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
        assert number(found[f"dice_{name}"]) == pytest.approx(dice[-1], rel=1e-6)
    assert number(found["dice"]) == pytest.approx(np.mean(dice), rel=1e-6)


def test_saved_losses_and_scores_keep_the_regions():
    loss = SegmentationLoss(regions=[list(members) for members in REGIONS])
    again = SegmentationLoss.from_config(loss.get_config())
    assert again.regions == again.learned.regions == REGIONS
    assert SegmentationScores.from_config(SegmentationScores("abc", regions=REGIONS).get_config()).regions == REGIONS


@pytest.mark.parametrize("preset", ["midl2021", "kseg"])
def test_a_network_of_regions_has_a_sigmoid_for_each_and_one_of_classes_a_softmax(preset):
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype("float32")
    options = {"filters": (2, 4), "dilation_rates": (1,), **({"pooling": 2} if preset == "kseg" else {})}
    network = build_network(preset, 3, 1, overlap=True, **options)
    maps = keras.Model(network.input, network.get_layer("probabilities").input)(voxels)
    expected = 1 / (1 + np.exp(-ops.convert_to_numpy(maps).astype(np.float64)))
    for same in (network, with_options(network, implementation="direct"), keras.models.clone_model(network)):
        same.set_weights(network.get_weights())
        np.testing.assert_allclose(same(voxels), expected, rtol=1e-5)
    assert np.ptp(ops.convert_to_numpy(network(voxels)).sum(axis=-1)) > 1e-3
    assert build_network(preset, 1, 1, overlap=True, **options).output_shape[-1] == 1
    with pytest.raises(ValueError, match="at least 2"):
        build_network(preset, 1, 1, **options)


def test_lower_levels_ask_for_regions_too(overlapping):
    labels, _ = overlapping
    network = build_network("midl2021", 3, 1, filters=(2, 4), dilation_rates=(1,), overlap=True)
    voxels = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 1)).astype("float32")
    finest, lower = supervised_network(network)(voxels)
    assert finest.shape[-1] == lower.shape[-1] == 3
    assert np.ptp(ops.convert_to_numpy(lower).sum(axis=-1)) > 1e-3  # no softmax
    partly = np.where(np.arange(5)[:, None, None] % 2 == 0, labels, NOBODY)
    found = lower_resolution(partly, np.zeros((2, 3, 2, 2, 3)), (2, 2, 2), partly_labelled=True, regions=REGIONS)
    found = ops.convert_to_numpy(found)
    assert (found < NOBODY).all()
    np.testing.assert_array_equal(found[:, :2, 0, 0], partly[:, [0, 2], 1, 1])  # the middle of a block is unlabelled


def test_a_step_of_regions_moves_network_and_penalties():
    keras.utils.set_random_seed(1)
    voxels = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 1)).astype("float32")
    labels = np.digitize(voxels[..., 0], [0.5, 1.0, 1.5]).astype("uint8")
    network = build_network("midl2021", 3, 1, filters=(8,), dilation_rates=(1,), overlap=True)
    model = Segmenter(network, SegmentationLoss(cross_entropy=1, regions=REGIONS), ["whole", "core", "enhancing"])
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    history = model.fit(voxels, labels, batch_size=2, epochs=60, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["dice_whole"][-1] > 0.5
    assert history["alpha"][-1] != 0.5
