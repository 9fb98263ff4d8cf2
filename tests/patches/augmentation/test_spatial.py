"""Flips, affine and elastic transforms against NumPy and SciPy; image and labels stay on each other."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from scipy.spatial.transform import Rotation

from kseg.patches.augmentation.spatial import (
    affine_matrix,
    affine_points,
    draw_flips,
    elastic_shift,
    flip,
    resample_patch,
)
from kseg.recipe.augmentation import MAX_PUSH

SIZE = (12, 10, 9)


@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_flips_are_numpys_and_a_landmark_stays_on_its_voxel(flips: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0, 1, 3] = 7
    image[0, 1, 3] = 1000
    axes = tuple(axis for axis in range(3) if flips[axis])
    flipped_image = flip(tf.constant(image), tf.constant(flips)).numpy()
    flipped_labels = flip(tf.constant(labels), tf.constant(flips)).numpy()
    np.testing.assert_array_equal(flipped_image, np.flip(image, axes))
    np.testing.assert_array_equal(flipped_labels, np.flip(labels, axes))
    np.testing.assert_array_equal(flipped_image[flipped_labels == 7], [[1000, 1000]])


@pytest.mark.parametrize("allowed", [(), ("x",), ("y", "z"), ("z", "x", "y")])
def test_allowed_axes_are_flipped_half_the_time_and_independently_others_never(allowed: tuple[str, ...]) -> None:
    draws = 1000
    seeds = tf.stack([tf.zeros(draws, tf.int64), tf.range(draws, dtype=tf.int64)], axis=1)
    drawn = tf.map_fn(lambda seed: draw_flips(allowed, seed), seeds, fn_output_signature=tf.bool).numpy()
    may = np.array([axis in allowed for axis in "xyz"])
    assert not drawn[:, ~may].any()
    bound = 4 * np.sqrt(draws / 4)  # four standard deviations of a fair coin
    assert np.all(np.abs(drawn[:, may].sum(axis=0) - draws / 2) < bound)
    for one, other in np.argwhere(np.triu(np.outer(may, may), 1)):
        assert abs((drawn[:, one] != drawn[:, other]).sum() - draws / 2) < bound


def matrix_of(degrees: Sequence[float], scales: Sequence[float], spacing_mm: Sequence[float]) -> np.ndarray:
    radians = tf.constant(np.radians(degrees), tf.float32)
    return affine_matrix(radians, tf.constant(scales, tf.float32), tf.constant(spacing_mm, tf.float32)).numpy()


def test_rotations_are_scipys_about_x_then_y_then_z() -> None:
    degrees = (20, -35, 50)
    expected = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    np.testing.assert_allclose(matrix_of(degrees, (1, 1, 1), (1, 1, 1)), expected, atol=1e-6)


def test_a_rotation_keeps_lengths_in_mm_where_voxels_are_no_cubes() -> None:
    spacing_mm = np.array([0.5, 0.8, 4.0])
    matrix = matrix_of((20, -35, 50), (1, 1, 1), spacing_mm)
    voxels = np.random.default_rng(0).normal(size=(3, 20)) * 10
    before, after = spacing_mm[:, np.newaxis] * voxels, spacing_mm[:, np.newaxis] * (matrix @ voxels)
    np.testing.assert_allclose(np.linalg.norm(after, axis=0), np.linalg.norm(before, axis=0), rtol=1e-5)


def test_a_scale_of_two_shows_half_of_the_anatomy() -> None:
    np.testing.assert_allclose(matrix_of((0, 0, 0), (2, 1, 0.5), (1, 2, 3)), np.diag([0.5, 1, 2]), atol=1e-7)


def test_nothing_drawn_leaves_every_point_where_it_is() -> None:
    np.testing.assert_array_equal(affine_points(SIZE, tf.eye(3)), np.indices(SIZE))


def test_an_affine_patch_is_scipys() -> None:
    rng = np.random.default_rng(1)
    volume, matrix = (
        rng.normal(size=(40, 40, 40, 2)).astype(np.float32),
        matrix_of((10, 25, -15), (1.2, 0.9, 1), (1, 1, 2)),
    )
    labels = rng.integers(0, 9, volume.shape[:3]).astype(np.uint8)
    first = np.array([14, 15, 15])  # the patch's first voxel in the volume
    centre = (np.array(SIZE) - 1) / 2
    points = affine_points(SIZE, tf.constant(matrix)) + first.reshape(3, 1, 1, 1)
    image, nearest = resample_patch(tf.constant(volume), tf.constant(labels), points)

    offset = first + centre - matrix @ centre
    for channel in range(2):
        expected = ndimage.affine_transform(volume[..., channel], matrix, offset, SIZE, order=1)
        np.testing.assert_allclose(image[..., channel], expected, atol=1e-4)
    np.testing.assert_array_equal(nearest, ndimage.affine_transform(labels, matrix, offset, SIZE, order=0))


@pytest.mark.parametrize("spacing", [4, 5, 16])
def test_an_elastic_patch_is_that_of_scipys_splines(spacing: int) -> None:
    rng = np.random.default_rng(2)
    volume, matrix = rng.normal(size=(40, 40, 40, 1)).astype(np.float32), matrix_of((0, 0, 30), (1, 1, 1.2), (1, 1, 1))
    controls = [-(-(length - 1) // spacing) + 3 for length in SIZE]
    control = rng.uniform(-1.5, 1.5, (*controls, 3)).astype(np.float32)
    points = affine_points(SIZE, tf.constant(matrix)) + 14
    points += elastic_shift(SIZE, tf.constant(matrix), tf.constant(control), spacing)
    image, _ = resample_patch(tf.constant(volume), tf.zeros(volume.shape[:3], tf.uint8), points)

    lattice = np.indices(SIZE) / spacing + 1  # SciPy takes the control points as spline coefficients
    push = np.stack(
        [ndimage.map_coordinates(control[..., axis], lattice, order=3, prefilter=False) for axis in range(3)]
    )
    centre = ((np.array(SIZE) - 1) / 2).reshape(3, 1, 1, 1)
    there = np.einsum("ij,jxyz->ixyz", matrix, np.indices(SIZE) - centre + push) + centre + 14
    expected = ndimage.map_coordinates(volume[..., 0], there, order=1)
    np.testing.assert_allclose(image[..., 0], expected, atol=1e-3)


def test_control_points_that_move_alike_move_everything_alike() -> None:
    control = tf.tile(tf.constant([[[[1.0, -2.0, 0.5]]]]), [5, 5, 5, 1])
    shift = elastic_shift(SIZE, tf.eye(3), control, 6)
    np.testing.assert_allclose(shift, np.broadcast_to(np.reshape([1, -2, 0.5], (3, 1, 1, 1)), (3, *SIZE)), atol=1e-5)


def test_the_strongest_push_allowed_folds_nothing() -> None:
    size, spacing, rng = (40, 40, 40), 10, np.random.default_rng(3)
    for _ in range(5):
        control = MAX_PUSH * spacing * rng.choice([-1.0, 1.0], (7, 7, 7, 3)).astype(np.float32)
        points = affine_points(size, tf.eye(3)) + elastic_shift(size, tf.eye(3), tf.constant(control), spacing)
        jacobian = np.stack([np.stack(np.gradient(axis), axis=-1) for axis in points.numpy()], axis=-1)
        assert np.linalg.det(jacobian).min() > 0
