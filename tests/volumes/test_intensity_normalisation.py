"""Statistics against NumPy, and the normalisation in NumPy and TensorFlow."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kseg.recipe.types import Normalisation
from kseg.volumes import intensity_normalisation
from kseg.volumes.intensity_normalisation import PERCENTILES, CaseIntensities, Scale, intensity_statistics, normalise


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
        "the ends of float32": np.array([-3e38, 3e38, 2e38, 2.5e38], np.float32).reshape(4, 1, 1, 1),
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


def peak_bytes(scan: np.ndarray) -> int:
    tracemalloc.start()
    intensity_statistics(scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_is_that_of_the_sample_however_large_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = np.random.default_rng(2).normal(size=(128, 128, 128, 1)).astype(np.float32)
    assert peak_bytes(scan) < 2.3 * scan.nbytes
    monkeypatch.setattr(intensity_normalisation, "MAX_SAMPLE_VOXELS", scan.size // 16)
    assert peak_bytes(scan) < 0.3 * scan.nbytes


def test_a_sample_is_the_same_however_the_blocks_are_cut_and_near_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = np.random.default_rng(3).normal(100, 20, (40, 41, 42, 2)).astype(np.float32)
    foreground = np.random.default_rng(4).random(scan.shape[:3]) < 0.3
    whole = intensity_statistics(scan)
    monkeypatch.setattr(intensity_normalisation, "MAX_SAMPLE_VOXELS", 8000)
    sampled = intensity_statistics(scan)
    np.testing.assert_allclose(sampled, whole, rtol=0.03)
    assert not np.array_equal(sampled, whole)
    blocks = CaseIntensities(scan.dtype, 2, scan[..., 0].size)
    for x in range(0, 40, 16):
        for z in range(0, 42, 5):
            box = (slice(x, x + 16), slice(None), slice(z, z + 5))
            blocks.add(scan[box], (x, 0, z), foreground[box])
    np.testing.assert_allclose(blocks.statistics(), sampled, rtol=1e-6)
    for inside in (True, False):
        voxels = scan[foreground == inside].astype(np.float64)
        low, high = np.percentile(voxels, PERCENTILES, axis=0)
        expected = np.stack([low, high, voxels.clip(low, high).mean(axis=0), voxels.clip(low, high).std(axis=0)], -1)
        np.testing.assert_allclose(blocks.of_foreground(inside), expected, rtol=0.06)


def test_log_counts_decibels_from_the_mean_by_hand() -> None:
    statistics = np.array([[0, 1000, 100, 50]], np.float32)
    echoes = np.array([1000, 100, 316.22777, 10, 1, 0, 5000, -3], np.float32)[:, np.newaxis]
    seen = normalise(echoes, statistics, [Scale(kind="log")])[:, 0]  # the mean lies 20 dB below the highest
    np.testing.assert_allclose(seen, [2, 0, 1, -2, -2, -2, 2, -2], atol=1e-5)


def test_log_does_not_ask_in_which_unit_the_device_counts() -> None:
    scan = np.random.default_rng(3).rayleigh(1, (12, 12, 12, 1)).astype(np.float32)
    log = [Scale(kind="log")]
    louder = normalise(70 * scan, intensity_statistics(70 * scan), log)
    np.testing.assert_allclose(normalise(scan, intensity_statistics(scan), log), louder, atol=1e-4)


@pytest.mark.parametrize("value", [0, 7, -3])
def test_log_makes_a_flat_volume_zero(value: int) -> None:
    scan = np.full((4, 4, 4, 1), value, np.float32)
    np.testing.assert_array_equal(normalise(scan, intensity_statistics(scan), [Scale(kind="log")]), 0)


NO_SCALES = [
    {"kind": "ct"},
    {"kind": "log", "statistics": (0, 1, 0.5, 0.1)},
    {"kind": "gamma"},
    {"kind": "ct", "statistics": (0, 1e300, 1, 1)},  # infinite in float32
    {"kind": "ct", "statistics": (0, 1, 0.5, 1e-50)},  # 0 in float32
    {"kind": "ct", "statistics": (0, 1, 0.5, 1e-40)},  # infinite where it divides
    {"kind": "ct", "statistics": (-3e38, 3e38, -3e38, 1)},
    {"kind": "ct", "statistics": (1, 0, 0.5, 1)},
]


@pytest.mark.parametrize("kind", NO_SCALES)
def test_a_scale_that_is_none_is_refused(kind: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Scale(**kind)


@pytest.mark.parametrize("kinds", [("zscore", "zscore"), ("log", "zscore"), ("ct", "log"), ("log", "log")])
def test_tensorflow_normalises_as_numpy_does(kinds: tuple[Normalisation, ...]) -> None:
    import tensorflow as tf

    scan = scans()["two channels"].astype(np.float32)
    statistics = intensity_statistics(scan)
    scales = [Scale(kind=kind, statistics=(1, 5, 3, 1.5) if kind == "ct" else None) for kind in kinds]
    ours = normalise(tf.constant(scan), tf.constant(statistics), scales, tf).numpy()
    np.testing.assert_allclose(ours, normalise(scan, statistics, scales), rtol=1e-5, atol=1e-5)
