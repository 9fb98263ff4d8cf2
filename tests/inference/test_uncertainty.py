"""Agreement and entropy of a segmentation, against whole masks and numbers by hand."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest

from kseg.inference import sliding_window
from kseg.inference.ensemble import Predict, ensemble_of
from kseg.inference.uncertainty import Uncertainty, agreement_of_mask
from kseg.volumes.regions import Structures

PATCH = (8, 8, 8)


def opinion(seed: int) -> Predict:
    """Probabilities of three classes that go by the voxel, each opinion in its own way."""
    slopes = np.array([0.0, 1.5, -1.5]) + np.random.default_rng(seed).normal(scale=0.4, size=3)

    def predict(voxels: np.ndarray) -> np.ndarray:
        powers = np.exp(voxels * slopes + np.array([0.0, 0.2, -0.2]))
        return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)

    return predict


def masks_of(image: np.ndarray, opinions: list[Predict]) -> list[np.ndarray]:
    return [predict(image[np.newaxis].astype(np.float32))[0].argmax(axis=-1) for predict in opinions]


def pairwise_dice(masks: list[np.ndarray], index: int) -> float:
    """All pairs' common voxels over all pairs' sizes."""
    common = sum(2 * np.count_nonzero((a == index) & (b == index)) for a, b in combinations(masks, 2))
    return common / sum(np.count_nonzero(a == index) + np.count_nonzero(b == index) for a, b in combinations(masks, 2))


segment = partial(sliding_window.segment, patch_size=PATCH, structures=Structures(3), normalise=lambda window: window)


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 11, 9), (5, 13, 8)])
@pytest.mark.parametrize("buffer_bytes", [10**9, 1])
def test_agreement_is_the_dice_of_all_pairs_of_opinions_on_the_volume(
    shape: tuple[int, int, int], buffer_bytes: int
) -> None:
    image = np.random.default_rng(1).normal(size=(*shape, 1))
    opinions = [opinion(seed) for seed in (2, 3, 4)]
    uncertainty = Uncertainty(3)
    predict = ensemble_of(opinions, (), compared=True)
    labels = segment(predict, image, buffer_bytes=buffer_bytes, uncertainty=uncertainty)
    masks = masks_of(image, opinions)  # each voxel by itself: windows make no difference
    expected = [pairwise_dice(masks, 1), pairwise_dice(masks, 2)]
    assert uncertainty.agreement() == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 0.05, "the opinions have nothing in common: the test says little"
    np.testing.assert_array_equal(labels, segment(predict, image, buffer_bytes=buffer_bytes))


def test_each_fold_agrees_with_its_own_flips() -> None:
    def along_x(seed: int) -> Predict:
        first = opinion(seed)
        return lambda voxels: first(voxels + np.linspace(-1, 1, voxels.shape[1])[:, None, None, None])

    image = np.random.default_rng(5).normal(size=(*PATCH, 1))
    uncertainty = Uncertainty(3)
    folds = [along_x(2), along_x(3)]
    segment(ensemble_of(folds, ["x"], compared=False), image, buffer_bytes=10**9, uncertainty=uncertainty)
    pairs = [[masks_of(image, [fold])[0], masks_of(image[::-1], [fold])[0][::-1]] for fold in folds]
    for index, found in enumerate(uncertainty.agreement(), start=1):
        common = sum(2 * np.count_nonzero((a == index) & (b == index)) for a, b in pairs)
        sizes = sum(np.count_nonzero(mask == index) for pair in pairs for mask in pair)
        assert found == pytest.approx(common / sizes, rel=1e-4)


def test_a_single_opinion_is_compared_with_its_own_probabilities() -> None:
    image = np.random.default_rng(6).normal(size=(9, 12, 10, 1))
    uncertainty = Uncertainty(3)
    segment(opinion(2), image, buffer_bytes=10**9, uncertainty=uncertainty)
    probabilities = opinion(2)(image[np.newaxis].astype(np.float32))[0]
    mask = probabilities.argmax(axis=-1)
    for index, found in enumerate(uncertainty.agreement(), start=1):
        shares = probabilities[..., index]
        assert found == pytest.approx(
            2 * shares[mask == index].sum() / (shares.sum() + (mask == index).sum()), rel=1e-4
        )


def test_a_class_that_no_opinion_has_has_no_agreement() -> None:
    certain = np.broadcast_to(np.array([0.2, 0.7, 0.1], np.float32), (1, *PATCH, 3))
    for members, agreement in ((1, 2 * 0.7 / 1.7), (2, 1.0)):
        uncertainty = Uncertainty(3)
        predict = ensemble_of([lambda _: certain] * members, (), compared=True)
        segment(predict, np.zeros((*PATCH, 1)), buffer_bytes=10**9, uncertainty=uncertainty)
        assert uncertainty.agreement() == [pytest.approx(agreement, rel=1e-5), None]


def test_entropy_is_a_percentage_of_the_largest() -> None:
    image = np.zeros((8, 8, 8, 1))
    image[4:] = 1
    certain, undecided = np.array([1, 0, 0], np.float32), np.full(3, 1 / 3, np.float32)
    uncertainty = Uncertainty(3, with_entropy=True)
    segment(lambda voxels: np.where(voxels > 0, undecided, certain), image, buffer_bytes=1, uncertainty=uncertainty)
    entropy = np.asarray(uncertainty.entropy)
    assert entropy.dtype == np.uint8
    assert set(np.unique(entropy[:4])) == {0}
    assert set(np.unique(entropy[4:])) == {100}


def test_entropy_of_half_a_half_in_three_classes() -> None:
    uncertainty = Uncertainty(3, with_entropy=True)
    half = np.broadcast_to(np.array([0.5, 0.5, 0], np.float32), (8, 8, 8, 3))[np.newaxis]
    segment(lambda _: half, np.zeros((8, 8, 8, 1)), buffer_bytes=10**9, uncertainty=uncertainty)
    assert set(np.unique(np.asarray(uncertainty.entropy))) == {63}  # ln 2 / ln 3 = 0.631


def test_no_entropy_is_kept_where_nobody_asked() -> None:
    uncertainty = Uncertainty(3)
    segment(opinion(2), np.zeros((8, 8, 8, 1)), buffer_bytes=10**9, uncertainty=uncertainty)
    assert uncertainty.entropy is None


def test_what_the_mask_lacks_has_no_agreement() -> None:
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1, 2, 0] = 2
    assert agreement_of_mask(mask, ((1,), (2,), (3,)), [0.9, 0.8, None]) == [None, 0.8, None]
    assert agreement_of_mask(mask, ((1, 2), (1, 3)), [0.9, 0.8]) == [0.9, None]
