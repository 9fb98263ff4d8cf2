"""Resampling as a graph beside `kseg.volumes.resample`: the same grids, intensities and labels."""

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.serving.graph_resampling import GraphGrid, grid_at_spacing, resample, resample_labels
from kseg.volumes.interpolation import by_label, linear
from kseg.volumes.resample import at_spacing, on_grid
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume

SHAPE = (13, 25, 10)
SPACINGS_MM = [(1.0, 1.0, 1.0), (0.1, 0.1, 0.3), (0.7, 1.9, 0.43), (0.2, 0.2, 0.2004)]
TARGET_MM = (0.2, 0.2, 0.2)
CLASSES = 4


def volume_of(array: np.ndarray, spacing_mm: tuple[float, ...]) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(array, affine, StoredGeometry(SHAPE, affine, ".nii.gz"))


def drawn(dtype: type, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 250, (*SHAPE, channels)).astype(dtype)


def there(image: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    @tf.function(autograph=False)
    def graph(voxels: tf.Tensor, spacing_mm: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own = GraphGrid(tf.shape(voxels)[:3], tf.cast(spacing_mm, tf.float64))
        used = grid_at_spacing(own, TARGET_MM)
        return resample(voxels, own, used), used.spacing_mm

    voxels, found_mm = graph(tf.constant(image), tf.constant(spacing_mm, tf.float32))
    return np.asarray(voxels), np.asarray(found_mm)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_intensities_and_their_rounding_are_those_of_numpy(dtype: type, spacing_mm: tuple[float, ...]) -> None:
    image = drawn(dtype)
    voxels, found_mm = there(image, spacing_mm)
    expected = gather(at_spacing(stream_of_volume(volume_of(image, spacing_mm)), TARGET_MM, linear), "image")
    assert voxels.dtype == dtype
    np.testing.assert_array_equal(voxels, expected.array)
    np.testing.assert_allclose(found_mm, expected.spacing_mm, rtol=1e-7)


def test_a_tie_of_the_size_falls_alike_for_decimals_and_float32() -> None:
    # 25 voxels of 0.1 mm are 12.5 of 0.2 mm; as a float32, 0.1 is a little more.
    image = drawn(np.uint8)
    decimal, float32 = (0.2, 0.1, 0.2), tuple(float(np.float32(mm)) for mm in (0.2, 0.1, 0.2))
    for spacing_mm in (decimal, float32):
        expected = at_spacing(stream_of_volume(volume_of(image, spacing_mm)), TARGET_MM, linear)
        assert expected.shape == there(image, spacing_mm)[0].shape[:3] == (13, 12, 10)


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_labels_come_back_as_with_numpy(spacing_mm: tuple[float, ...]) -> None:
    scan = stream_of_volume(volume_of(drawn(np.uint8, 1), spacing_mm))
    resampled = gather(at_spacing(scan, TARGET_MM, linear), "image")
    coarse = (resampled.array.astype(int) // 64).astype(np.uint8)
    labels = Volume(coarse, resampled.affine, resampled.stored)
    expected = gather(on_grid(stream_of_volume(labels), SHAPE, scan.spacing_mm, by_label), "labels").array[..., 0]

    @tf.function(autograph=False)
    def graph(indices: tf.Tensor, spacing_mm: tf.Tensor) -> tf.Tensor:
        own = GraphGrid(tf.constant(SHAPE), tf.cast(spacing_mm, tf.float64))
        return resample_labels(indices, CLASSES, grid_at_spacing(own, TARGET_MM), own)

    found = np.asarray(graph(tf.constant(coarse[..., 0]), tf.constant(spacing_mm, tf.float32)))
    assert len(np.unique(found)) == CLASSES
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("spacing_mm", "complaint"),
    [((1.0, 0.0, 1.0), "must be a length above 0"), ((1e5, 1e5, 1e5), "too many voxels")],
)
def test_a_spacing_that_makes_no_volume_is_refused(spacing_mm: tuple[float, ...], complaint: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=complaint):
        there(drawn(np.uint8), spacing_mm)
