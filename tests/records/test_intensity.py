"""Statistics against NumPy, and the normalisation in NumPy and TensorFlow."""

import numpy as np
import pytest

from kseg.records.intensity import PERCENTILES, intensity_statistics, normalise


def scans() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "uint8": rng.integers(0, 256, (9, 8, 7, 1)).astype(np.uint8),
        "uint16": rng.integers(0, 65536, (9, 8, 7, 1)).astype(np.uint16),
        "int16": rng.integers(-1024, 3000, (9, 8, 7, 1)).astype(np.int16),
        "int8": rng.integers(-128, 128, (9, 8, 7, 1)).astype(np.int8),
        "int32": rng.integers(-(10**6), 10**6, (9, 8, 7, 1)).astype(np.int32),
        "float32": rng.normal(5, 3, (9, 8, 7, 1)).astype(np.float32),
        "two channels": np.stack([rng.poisson(3, (9, 8, 7)), rng.poisson(90, (9, 8, 7))], axis=-1).astype(np.int16),
        "flipped view": rng.integers(0, 256, (9, 8, 7, 2)).astype(np.uint8)[::-1, :, ::2],
        "big-endian": rng.integers(-9, 9, (5, 4, 3, 1)).astype(">i2"),
        "two voxels": np.array([3, 250], np.uint8).reshape(2, 1, 1, 1),
        "five voxels": np.array([-7, 0, 0, 1, 9], np.int16).reshape(1, 5, 1, 1),
    }


@pytest.mark.parametrize("kind", scans())
def test_statistics_are_numpys(kind: str) -> None:
    scan = scans()[kind]
    for channel, found in enumerate(intensity_statistics(scan)):
        voxels = scan[..., channel].astype(np.float64)
        low, high = np.percentile(voxels, PERCENTILES)
        clipped = voxels.clip(low, high)
        np.testing.assert_allclose(found, [low, high, clipped.mean(), clipped.std()], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_a_flat_volume_becomes_zero_without_dividing_by_zero(value: int) -> None:
    scan = np.full((4, 4, 4, 1), value, np.int16)
    statistics = intensity_statistics(scan)
    np.testing.assert_array_equal(statistics, [[value, value, value, 1]])
    np.testing.assert_array_equal(normalise(scan.astype(np.float32), statistics), 0)


def test_a_flat_volume_stays_flat_where_its_sum_is_no_exact_double() -> None:
    scan = np.full((251, 251, 251, 1), 2**31 - 1, np.int32)  # 251^3 (2^31 - 1) is above 2^53
    assert intensity_statistics(scan)[0, 3] == 1


def test_one_glaring_voxel_does_not_move_the_scale() -> None:
    scan = np.random.default_rng(1).normal(100, 10, (20, 20, 20, 1)).astype(np.float32)
    glaring = scan.copy()
    glaring[3, 4, 5] = 1e6
    np.testing.assert_allclose(intensity_statistics(glaring), intensity_statistics(scan), rtol=0.01)


def test_normalised_volumes_have_mean_0_and_deviation_1_in_each_channel() -> None:
    scan = scans()["two channels"]
    normalised = normalise(scan.astype(np.float32), intensity_statistics(scan))
    np.testing.assert_allclose(normalised.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(axis=(0, 1, 2)), 1, rtol=1e-5)


def test_tensorflow_normalises_as_numpy_does() -> None:
    import tensorflow as tf

    scan = scans()["two channels"].astype(np.float32)
    statistics = intensity_statistics(scan)
    ours = normalise(tf.constant(scan), tf.constant(statistics), tf).numpy()
    np.testing.assert_allclose(ours, normalise(scan, statistics), rtol=1e-6, atol=1e-6)
