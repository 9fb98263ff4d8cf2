"""Changes of intensity, with parameters set by hand, against NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from kseg.patches.augmentation.intensity import blur, brightness, contrast, gamma, low_resolution, noise

SPACE = (0, 1, 2)


@pytest.fixture
def image() -> np.ndarray:
    """Two channels on scales of their own."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(12, 13, 14, 2)) * (1, 3) + (0, 5)).astype(np.float32)


def test_gamma_is_a_power_between_the_extremes_with_mean_and_deviation_kept(image: np.ndarray) -> None:
    exponents = (0.6, 1.7)
    found = gamma(tf.constant(image), tf.constant(exponents)).numpy()
    np.testing.assert_allclose(found.mean(SPACE), image.mean(SPACE), atol=1e-4)
    np.testing.assert_allclose(found.std(SPACE), image.std(SPACE), rtol=1e-4)
    low, high = image.min(SPACE), image.max(SPACE)
    power = ((image - low) / (high - low)) ** exponents
    for channel in range(2):  # what is left free is a scale and an offset
        assert np.corrcoef(found[..., channel].ravel(), power[..., channel].ravel())[0, 1] > 1 - 1e-6


def test_gamma_of_one_and_of_a_flat_patch_changes_nothing(image: np.ndarray) -> None:
    np.testing.assert_allclose(gamma(tf.constant(image), tf.ones(2)), image, atol=1e-4)
    flat = np.full((3, 4, 5, 1), 2.5, np.float32)
    np.testing.assert_array_equal(gamma(tf.constant(flat), tf.constant([1.4])), flat)


def test_contrast_stretches_about_the_mean_within_the_range(image: np.ndarray) -> None:
    found = contrast(tf.constant(image), tf.constant([0.5, 2.0])).numpy()
    mean = image.mean(SPACE)
    expected = np.clip(mean + (image - mean) * (0.5, 2), image.min(SPACE), image.max(SPACE))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_brightness_adds_its_shift_to_each_channel(image: np.ndarray) -> None:
    np.testing.assert_allclose(
        brightness(tf.constant(image), tf.constant([1.0, -2.0])), image + np.array([1, -2]), rtol=1e-6
    )


def test_noise_has_its_deviation_and_no_structure() -> None:
    image = tf.zeros((30, 30, 30, 2))
    found = noise(image, tf.constant(0.3), tf.constant([1, 2], tf.int64)).numpy()
    count = found.size
    assert abs(found.mean()) < 4 * 0.3 / np.sqrt(count)
    assert abs(found.std() - 0.3) < 4 * 0.3 / np.sqrt(2 * count)
    for axis in range(4):
        one, other = np.delete(found, -1, axis).ravel(), np.delete(found, 0, axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)


def test_blur_is_scipys_away_from_the_borders(image: np.ndarray) -> None:
    found = blur(tf.constant(image), tf.constant(0.7)).numpy()
    expected = ndimage.gaussian_filter(image, 0.7, axes=SPACE, truncate=8)
    inside = (slice(5, -5),) * 3
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-4)


def reference_low_resolution(line: np.ndarray, factor: int) -> np.ndarray:
    means = line.reshape(-1, factor).mean(axis=1)
    centres = np.arange(len(means)) * factor + (factor - 1) / 2
    return np.interp(np.arange(len(line)), centres, means)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_low_resolution_is_means_of_blocks_interpolated_linearly(factor: int) -> None:
    image = np.random.default_rng(1).normal(size=(12, 12, 6, 2)).astype(np.float32)
    found = low_resolution(tf.constant(image), tf.constant(float(factor)))
    expected = image
    for axis in SPACE:
        expected = np.apply_along_axis(reference_low_resolution, axis, expected, factor)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1.3, 1.71, 2.5])
def test_a_factor_between_keeps_flat_patches_flat_and_ramps_in_place(factor: float) -> None:
    np.testing.assert_allclose(low_resolution(tf.ones((7, 8, 9, 1)), tf.constant(factor)), 1, rtol=1e-5)
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32).reshape(-1, 1, 1, 1), (30, 4, 4, 1))
    found = low_resolution(tf.constant(ramp), tf.constant(factor)).numpy()
    np.testing.assert_allclose(found[4:-4], ramp[4:-4], atol=1 / 8 / factor)  # a voxel that is cut: f (1 - f) / 2


def test_blur_keeps_flat_patches_flat_up_to_the_border() -> None:
    np.testing.assert_allclose(blur(tf.ones((7, 8, 9, 1)), tf.constant(1.3)), 1, rtol=1e-5)
