"""Means over flips and members, against means taken by hand."""

import numpy as np
import pytest

from kseg.inference.ensemble import Predict, ensemble_of, flips_of


def lopsided(voxels: np.ndarray) -> np.ndarray:
    """Two probabilities that depend on the voxel and, differently along each axis, on its place and its neighbour."""
    x, y, z = np.indices(voxels.shape[1:4])
    neighbours = np.roll(voxels, 1, axis=1) + 2 * np.roll(voxels, 1, axis=2) + 3 * np.roll(voxels, 1, axis=3)
    first = 1 / (1 + np.exp(-(voxels + neighbours / 6 + (x + 2 * y + 3 * z)[..., None] / 20)))
    return np.concatenate([first, 1 - first], axis=-1)


def mirrored(voxels: np.ndarray) -> np.ndarray:
    return 1 - lopsided(voxels)


def by_hand(predict: Predict, voxels: np.ndarray) -> np.ndarray:
    """The mean over flips along x and z."""
    return sum(  # type: ignore[return-value]
        predict(voxels[:, ::a, :, ::b])[:, ::a, :, ::b] / 4 for a in (1, -1) for b in (1, -1)
    )


def test_the_mean_over_two_axes_is_that_of_four_predictions() -> None:
    voxels = np.random.default_rng(7).normal(size=(2, 4, 5, 6, 1))
    mean = ensemble_of([lopsided], ["z", "x"], compared=True)
    np.testing.assert_allclose(mean(voxels), by_hand(lopsided, voxels), rtol=1e-12)


@pytest.mark.parametrize("axes", [["x"], ["y"], ["z"], ["x", "y", "z"]])
def test_flipping_a_tile_flips_its_prediction(axes: list[str]) -> None:
    voxels = np.random.default_rng(8).normal(size=(1, 4, 5, 6, 1))
    predict = ensemble_of([lopsided], axes, compared=True)
    for axis in axes:
        place = 1 + "xyz".index(axis)
        np.testing.assert_allclose(predict(np.flip(voxels, place)), np.flip(predict(voxels), place), rtol=1e-12)


def test_no_axis_and_one_member_leave_a_prediction_as_it_is() -> None:
    assert flips_of(lopsided, ()) == (lopsided,)
    assert ensemble_of([lopsided], (), compared=True).groups == ((lopsided,),)


@pytest.mark.parametrize("compared", [True, False])
def test_members_have_equal_weight_and_their_results_are_not_written_to(compared: bool) -> None:
    answers = [np.full((1, 1, 1, 1, 2), share, np.float32) for share in ([0.1, 0.9], [0.4, 0.6], [1.0, 0.0])]
    for answer in answers:
        answer.setflags(write=False)
    members = [lambda _, answer=answer: answer for answer in answers]
    mean = ensemble_of(members, (), compared)(np.zeros((1, 1, 1, 1, 1)))
    np.testing.assert_allclose(mean[0, 0, 0, 0], [0.5, 0.5], rtol=1e-6)
    assert mean.dtype == np.float32


def test_members_that_may_be_compared_are_opinions_and_else_the_flips_of_each() -> None:
    voxels = np.random.default_rng(9).normal(size=(1, 4, 5, 6, 1))
    members = ensemble_of([lopsided, mirrored], ["x", "z"], compared=True)
    flips = ensemble_of([lopsided, mirrored], ["x", "z"], compared=False)
    assert [len(group) for group in members.groups] == [2]
    assert [len(group) for group in flips.groups] == [4, 4]
    masks = [by_hand(member, voxels).argmax(axis=-1) for member in (lopsided, mirrored)]
    mean, (heard,) = members.with_opinions(voxels)
    np.testing.assert_array_equal(heard.votes[..., 0], sum(mask == 1 for mask in masks))
    assert (heard.count, heard.probabilities) == (2, None)
    for other in (members(voxels), flips(voxels), flips.with_opinions(voxels)[0]):
        np.testing.assert_allclose(mean, other, rtol=1e-12)
    assert [(one.count, one.probabilities) for one in flips.with_opinions(voxels)[1]] == [(4, None)] * 2


def test_a_single_opinion_keeps_its_probabilities() -> None:
    voxels = np.random.default_rng(9).normal(size=(1, 4, 5, 6, 1))
    for members, compared in (([lopsided], True), ([lopsided, mirrored], False)):
        _, heard = ensemble_of(members, (), compared).with_opinions(voxels)
        for opinions, member in zip(heard, members, strict=True):
            assert opinions.count == 1
            np.testing.assert_array_equal(opinions.probabilities, member(voxels)[..., 1:])
