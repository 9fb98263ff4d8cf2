"""Components found slab by slab, against those that SimpleITK finds in the whole."""

import numpy as np
import pytest
import SimpleITK as sitk

from kseg.inference.components import BY_CORNERS, BY_FACES, Components


def components_of(mask: np.ndarray, neighbours: np.ndarray, slab_voxels: int) -> tuple[Components, np.ndarray]:
    components = Components(lambda planes: mask[planes], mask.shape, neighbours, slab_voxels)
    whole = np.full(mask.shape, -1)
    for planes, numbers in components.slabs():
        assert (whole[planes] == -1).all(), "planes are given twice"
        whole[planes] = numbers
    return components, whole


@pytest.mark.parametrize("density", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("slab_voxels", [1, 12 * 13 * 5, 10**6])
@pytest.mark.parametrize(("neighbours", "fully"), [(BY_FACES, False), (BY_CORNERS, True)])
def test_the_whole_has_the_components_that_simpleitk_finds(
    density: float, slab_voxels: int, neighbours: np.ndarray, fully: bool
) -> None:
    mask = np.random.default_rng(5).random((17, 12, 13)) < density
    components, whole = components_of(mask, neighbours, slab_voxels)
    expected = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), fully))
    pairs = np.unique(np.stack([whole.ravel(), expected.ravel()]), axis=1)
    assert len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == components.count + 1
    np.testing.assert_array_equal(components.sizes(), np.bincount(whole.ravel()))
    first_voxels = [np.flatnonzero(whole.ravel() == number)[0] for number in range(1, components.count + 1)]
    assert first_voxels == sorted(first_voxels)


def test_a_spiral_through_many_seams_is_one_component() -> None:
    """It leaves each slab of two planes and comes back, so that numbers meet only by way of other slabs."""
    mask = np.zeros((9, 9, 1), bool)
    mask[0, 1:], mask[:, 8], mask[8, :], mask[2:, 0] = True, True, True, True
    mask[2, :7], mask[2:7, 6] = True, True
    components, whole = components_of(mask, BY_FACES, 1)
    assert components.count == 1
    np.testing.assert_array_equal(whole == 1, mask)


@pytest.mark.parametrize("mask", [np.zeros((3, 2, 2), bool), np.ones((1, 1, 1), bool), np.ones((2, 3, 1), bool)])
def test_masks_of_nothing_and_of_everything(mask: np.ndarray) -> None:
    components, whole = components_of(mask, BY_CORNERS, 1)
    np.testing.assert_array_equal(whole, mask)
    assert components.sizes().tolist() == [mask.size - mask.sum(), *([mask.sum()] if mask.any() else [])]


def test_the_mask_may_change_where_it_was_yielded() -> None:
    mask = np.random.default_rng(9).random((17, 12, 13)) < 0.3
    _, expected = components_of(mask.copy(), BY_CORNERS, 1)
    for planes, numbers in Components(lambda planes: mask[planes], mask.shape, BY_CORNERS, 1).slabs():
        np.testing.assert_array_equal(numbers, expected[planes])
        mask[planes] = False
