"""Speckle, depth gain and shadow, with parameters set by hand: they multiply what stands above the darkest voxel."""

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.augmentation.ultrasound import depth_gain, shadow, speckle

SIZE = (11, 21, 31)


def bright(height: float, darkest: float = -2.0, size: tuple[int, int, int] = SIZE) -> tf.Tensor:
    """A patch that is `height` above its darkest voxel, which is the first."""
    image = np.full((*size, 1), darkest + height, np.float32)
    image[0, 0, 0] = darkest
    return tf.constant(image)


def test_speckle_is_proportional_to_the_echo_and_spares_the_darkest() -> None:
    seed, std = tf.constant([3, 4], tf.int64), tf.constant(0.2)
    found = speckle(bright(5.0), std, seed).numpy() + 2
    assert found[0, 0, 0, 0] == 0
    factors = found.reshape(-1)[1:] / 5
    assert abs(factors.mean() - 1) < 4 * 0.2 / np.sqrt(factors.size)
    assert abs(factors.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * factors.size)
    np.testing.assert_allclose(speckle(bright(10.0), std, seed) + 2, 2 * found, rtol=1e-4, atol=1e-4)


def test_speckle_never_turns_an_echo_negative() -> None:
    assert np.min(speckle(bright(5.0), tf.constant(2.0), tf.constant([0, 1], tf.int64))) == -2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_depth_gain_is_the_exponential_of_a_spline_along_its_axis(axis: int) -> None:
    control = np.log([1.5, 1.0, 0.8, 1.2, 1.0]).astype(np.float32)
    found = depth_gain(bright(4.0), tf.constant(control), axis).numpy() + 2
    lines = np.moveaxis(found[..., 0], axis, 0).reshape(SIZE[axis], -1)[:, 1:]
    np.testing.assert_allclose(lines, np.broadcast_to(lines[:, :1], lines.shape), rtol=1e-5)
    # At a knot a cubic B-spline weighs three control points by 1/6, 4/6, 1/6; knots are both ends and the middle.
    knots = np.convolve(control, (1 / 6, 4 / 6, 1 / 6), "valid")
    ends_and_middle = lines[[0, SIZE[axis] // 2, -1], 0]
    np.testing.assert_allclose(ends_and_middle, 4 * np.exp(knots), rtol=1e-4)


def centred_shadow(taper: float, axis: int) -> np.ndarray:
    found = shadow(
        bright(1.0, 0.0),
        darkness=tf.constant(0.6),
        centre=tf.constant([0.5, 0.5]),
        width=tf.constant([0.1, 0.1]),
        taper=tf.constant(taper),
        axis=axis,
    )
    return found.numpy()[..., 0]


def test_a_shadow_by_hand() -> None:
    # Depth along y; centred on x = 5 of 11 and z = 15 of 31; a deviation of 0.1 is 1 voxel along x and 3 along z.
    found = centred_shadow(taper=0.0, axis=1)
    np.testing.assert_allclose(found[5, :, 15], 0.4, rtol=1e-5)
    np.testing.assert_allclose(found[6, :, 15], 1 - 0.6 * np.exp(-0.5), rtol=1e-5)
    np.testing.assert_allclose(found[5, :, 21], 1 - 0.6 * np.exp(-2), rtol=1e-5)
    np.testing.assert_allclose(found[10, :, 15], 1, atol=1e-5)


def test_a_tapered_shadow_is_narrower_at_its_first_depth_and_wider_at_its_last() -> None:
    found = centred_shadow(taper=0.5, axis=2)
    np.testing.assert_allclose(found[6, 10, 0], 1 - 0.6 * np.exp(-0.5 / 0.5**2), rtol=1e-5)
    np.testing.assert_allclose(found[6, 10, 15], 1 - 0.6 * np.exp(-0.5), rtol=1e-5)
    np.testing.assert_allclose(found[6, 10, -1], 1 - 0.6 * np.exp(-0.5 / 1.5**2), rtol=1e-5)
