"""Masks of regions: windows, votes, agreement, entropy, post-processing and its choice."""

from math import log

import numpy as np
import pytest
from scipy import ndimage

from kseg.inference.ensemble import Predict, ensemble_of
from kseg.inference.postprocessing import postprocess
from kseg.inference.postprocessing_choice import choose_operations, try_operations
from kseg.inference.sliding_window import segment
from kseg.inference.uncertainty import Uncertainty
from kseg.runs.precision_recall import THRESHOLDS, ThresholdCounts
from kseg.volumes.regions import Structures, marks

NESTED = Structures(4, regions=((1, 2, 3), (2, 3), (3,)), written=(1, 2, 3))
FILL, LARGEST = ("fill_holes",), ("largest_component",)


def opinion(seed: int) -> Predict:
    """A network that looks at each voxel by itself; its regions need not lie in each other."""
    slopes, shifts = np.random.default_rng(seed).normal(size=(2, 3))

    def predict(voxels: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-voxels * slopes - shifts))).astype(np.float32)

    return predict


@pytest.mark.parametrize("buffer_bytes", [10**9, 1])
def test_windows_are_blended_region_by_region_and_then_written_in_order(buffer_bytes: int) -> None:
    image = np.random.default_rng(0).normal(size=(20, 11, 9, 1)).astype(np.float32)
    predict = opinion(3)
    labels = segment(predict, image, (8, 8, 8), NESTED, normalise=np.asarray, buffer_bytes=buffer_bytes)
    expected = np.zeros(image.shape[:3], np.uint8)
    for label, maps in zip((1, 2, 3), np.moveaxis(predict(image), -1, 0), strict=True):
        expected[maps > 0.5] = label
    sure = (np.abs(predict(image) - 0.5) > 1e-5).all(axis=-1)  # the sum of shares may round otherwise at one half
    np.testing.assert_array_equal(labels[sure], expected[sure])
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) >= 3


def test_agreement_is_the_dice_of_all_pairs_of_regions() -> None:
    image = np.random.default_rng(1).normal(size=(20, 11, 9, 1)).astype(np.float32)
    opinions = [opinion(seed) for seed in (2, 3, 4)]
    uncertainty = Uncertainty(4, regions=3)
    predict = ensemble_of(opinions, (), compared=True, overlap=True)
    segment(predict, image, (8, 8, 8), NESTED, normalise=np.asarray, buffer_bytes=10**9, uncertainty=uncertainty)
    masks = np.stack([one(image) > 0.5 for one in opinions])
    expected = []
    for region in np.moveaxis(masks, -1, 0):
        pairs = [(region[a], region[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        common = sum(2 * np.count_nonzero(a & b) for a, b in pairs)
        expected.append(common / sum(np.count_nonzero(a) + np.count_nonzero(b) for a, b in pairs))
    assert uncertainty.agreement() == pytest.approx(expected, rel=1e-4)


def test_a_single_opinion_is_compared_with_its_own_probabilities() -> None:
    image = np.random.default_rng(1).normal(size=(8, 8, 8, 1)).astype(np.float32)
    uncertainty = Uncertainty(4, regions=3)
    predict = ensemble_of([opinion(2)], (), compared=True, overlap=True)
    segment(predict, image, (8, 8, 8), NESTED, normalise=np.asarray, buffer_bytes=10**9, uncertainty=uncertainty)
    likely = opinion(2)(image).astype(np.float64).reshape(-1, 3)
    mask = likely > 0.5
    expected = 2 * (likely * mask).sum(axis=0) / (likely.sum(axis=0) + mask.sum(axis=0))
    found = [np.nan if value is None else value for value in uncertainty.agreement()]
    np.testing.assert_allclose(found, np.where(mask.any(axis=0), expected, np.nan), rtol=1e-4)


def test_entropy_is_the_mean_of_the_regions_and_full_where_each_is_as_likely_as_not() -> None:
    uncertainty = Uncertainty(4, with_entropy=True, regions=2)
    probabilities = np.array([[0.5, 0.5], [0.0, 1.0], [0.5, 1.0], [0.1, 0.3]], np.float32).reshape(4, 1, 1, 2)
    uncertainty.see_plane((slice(0, 4), slice(0, 1), slice(0, 1)), probabilities, (4, 1, 1))
    by_hand = -sum(p * log(p) + (1 - p) * log(1 - p) for p in (0.1, 0.3)) / 2 / log(2)
    np.testing.assert_array_equal(np.ravel(uncertainty.entropy), [100, 0, 50, round(100 * by_hand)])


def two_tumours() -> np.ndarray:
    """A tumour with a core, whose middle is enhancing, and a smaller one with both beside it."""
    labels = np.zeros((20, 9, 9), np.uint8)
    labels[1:10, 1:8, 1:8], labels[3:8, 3:6, 3:6], labels[5, 4, 4] = 1, 2, 3
    labels[13:18, 2:7, 2:7], labels[14:17, 3:6, 3:6], labels[15, 4, 4] = 1, 2, 3
    return labels


def test_the_largest_whole_tumour_takes_its_inner_regions_along() -> None:
    labels, expected = two_tumours(), two_tumours()
    postprocess(labels, [LARGEST, (), ()], NESTED)
    expected[11:] = 0
    np.testing.assert_array_equal(labels, expected)


def test_a_core_that_is_dropped_becomes_what_lies_around_it() -> None:
    labels, expected = two_tumours(), two_tumours()
    postprocess(labels, [(), LARGEST, ()], NESTED)
    expected[14:17, 3:6, 3:6] = 1
    np.testing.assert_array_equal(labels, expected)


def test_holes_are_filled_with_the_region_and_what_lies_in_them_stays_in_it() -> None:
    labels, expected = two_tumours(), two_tumours()
    labels[4, 4, 4], labels[2, 2, 2], labels[15, 4, 4] = 1, 0, 0
    postprocess(labels, [FILL, FILL, ()], NESTED)
    expected[15, 4, 4] = 2  # what was missing is core, not known to be enhancing
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(3))
def test_classes_as_regions_of_one_label_are_post_processed_as_classes(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 27, 25)), 1.3)
    labels = np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8])).astype(np.uint8)
    alone, classes = Structures(4, ((1,), (2,), (3,)), (1, 2, 3)), Structures(4)
    for operations in ([FILL + LARGEST] * 3, [LARGEST, (), FILL]):
        as_regions, as_classes = labels.copy(), labels.copy()
        postprocess(as_regions, operations, alone)
        postprocess(as_classes, operations, classes)
        np.testing.assert_array_equal(as_regions, as_classes)
        assert (as_classes != labels).any()


def test_the_choice_is_by_region() -> None:
    """Two tumours where the truth has one: the largest whole tumour helps, and with it goes the rest."""
    prediction, truth = two_tumours(), two_tumours()
    truth[11:] = 0
    trials = try_operations(truth, prediction, NESTED)
    for number, trial in enumerate(trials):
        members = NESTED.members[number]
        for operations, dice in trial.items():
            processed = prediction.copy()
            postprocess(processed, [operations if at == number else () for at in range(3)], NESTED)
            mask, true = marks(processed, members), marks(truth, members)
            assert dice == 2 * (mask & true).sum() / (mask.sum() + true.sum())
    choice = choose_operations([trials] * 5, ["whole", "core", "enhancing"], ["hash"])
    assert choice.operations == {"whole": LARGEST, "core": LARGEST, "enhancing": LARGEST}
    choice.apply(prediction, NESTED)
    np.testing.assert_array_equal(prediction, truth)


def test_precision_and_recall_of_regions_equal_a_comparison_voxel_by_voxel() -> None:
    rng = np.random.default_rng(0)
    counts = ThresholdCounts(NESTED)
    labels, probabilities = rng.integers(0, 5, (2, 5, 4, 3)), rng.random((2, 5, 4, 3, 3)).astype(np.float32)
    counts.add(labels, probabilities)  # a label of 4 is nobody's
    labelled = labels < 4
    true, false = counts.positives
    assert counts.voxels == labelled.sum()
    for number, members in enumerate(NESTED.members):
        inside = np.isin(labels, members)
        for at in (0, 1, 37, 80, 99):
            predicted = (probabilities[..., number] >= THRESHOLDS[at]) & labelled
            assert true[number, at] == (predicted & inside).sum()
            assert false[number, at] == (predicted & ~inside).sum()
