"""What is measured of a case: by hand, and against SciPy and NumPy on the whole volume."""

import numpy as np
import pytest
from scipy import ndimage

from kseg.records import bricks, fingerprint
from kseg.records.bricks import Bricks
from kseg.records.fingerprint import Fingerprint, component_sizes, foreground_pieces, take_fingerprint
from kseg.records.packed_labels import PackedLabels, pack_labels
from kseg.volumes import intensity_normalisation
from kseg.volumes.intensity_normalisation import CaseIntensities
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import stream_of_volume


def fingerprint_of(image: np.ndarray, labels: np.ndarray, num_classes: int = 2) -> Fingerprint:
    """Measure an image (x, y, z, channels) and its class indices as preparing does, brick by brick."""
    intensities = CaseIntensities(image.dtype, image.shape[3], labels.size)
    packed = pack(labels, num_classes)
    for number in range(packed.bricks.count):
        box, known = packed.bricks.box(number), packed.brick(number)
        intensities.add(image[box], [part.start for part in box], None if known is None else known > 0)
    return take_fingerprint(labels.shape, (0.5, 0.5, 2.0), packed, intensities, foreground_pieces(packed))


def pack(labels: np.ndarray, num_classes: int) -> PackedLabels:
    volume = Volume(labels, np.eye(4), StoredGeometry(labels.shape, np.eye(4), ".nii.gz"))
    return pack_labels(stream_of_volume(volume), Bricks.of(labels.shape), num_classes)


@pytest.fixture(autouse=True, params=[64, 5])
def edge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bricks, "MAX_EDGE", request.param)


def test_intensities_inside_and_outside_are_told_apart() -> None:
    image = np.full((4, 5, 6, 1), 10.0, np.float32)
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[:, :2], image[:, :2] = 1, 100.0
    image[::2, :2] = 300.0
    found = fingerprint_of(image, labels)
    assert found.inside == ((100.0, 300.0, 200.0, 100.0),)
    assert found.outside == ((10.0, 10.0, 10.0, 1.0),)
    assert (found.shape, found.spacing_mm, found.class_voxels) == ((4, 5, 6), (0.5, 0.5, 2.0), (72, 48))


def test_a_glaring_voxel_does_not_decide_the_scale() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (12, 12, 12, 1)).astype(np.float32)
    labels = (rng.random((12, 12, 12)) < 0.5).astype(np.uint8)
    image[0, 0, 0] = 1e6
    found = fingerprint_of(image, labels)
    for index, rows in enumerate((found.outside, found.inside)):
        values = image[labels == index]
        low, high = np.percentile(values, (0.5, 99.5))
        clipped = values.clip(low, high)
        np.testing.assert_allclose(rows[0], (low, high, clipped.mean(), clipped.std()), rtol=1e-4)
        assert rows[0][3] < 11


def test_pieces_are_counted_by_class_and_touch_at_corners() -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1  # one piece, by a corner
    labels[5:7, 5:7, 5:7] = 1
    labels[0, 7, 7] = 3
    found = fingerprint_of(np.zeros((8, 8, 8, 1), np.uint8), labels, 4)
    assert found.components == (2, 0, 1)
    assert found.largest_component == (0.8, 0.0, 1.0)


def test_sizes_of_pieces_are_scipys() -> None:
    labels = np.random.default_rng(3).choice(4, (20, 21, 22), p=(0.9, 0.05, 0.03, 0.02)).astype(np.uint8)
    packed = pack(labels, 4)
    for index in (1, 2, 3):
        sizes = component_sizes(packed, index)
        components, count = ndimage.label(labels == index, np.ones((3, 3, 3)))
        expected = ndimage.sum_labels(labels == index, components, range(1, count + 1))
        assert sorted(sizes) == sorted(expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lone_voxels_are_packed_in_the_brick_that_holds_them(axis: int) -> None:
    labels = np.zeros((11, 12, 13), np.uint8)
    labels[10, 0, 12], labels[4, 11, 5], labels[0, 0, 4] = 1, 2, 1
    volume = Volume(labels, np.eye(4), StoredGeometry(labels.shape, np.eye(4), ".nii.gz"))
    packed = pack_labels(stream_of_volume(volume, axis, downwards=axis == 1), Bricks.of(labels.shape), 3)
    for number in range(packed.bricks.count):
        part = labels[packed.bricks.box(number)]
        found = packed.brick(number)
        np.testing.assert_array_equal(np.zeros_like(part) if found is None else found, part)
        assert (found is None) == (not part.any())
        assert packed.counts[:, number].tolist() == np.bincount(part.reshape(-1), minlength=3).tolist()


def test_no_foreground_and_nothing_else_are_both_said() -> None:
    image, shape = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1), (2, 3, 4)
    empty = fingerprint_of(image, np.zeros(shape, np.uint8))
    assert (empty.inside, empty.components) == ((), (0,))
    full = fingerprint_of(image, np.ones(shape, np.uint8))
    assert (full.outside, full.largest_component) == ((), (1.0,))


def test_a_large_volume_is_thinned_out_and_measures_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    grid = np.indices((60, 60, 60))
    labels = (((grid - 20) ** 2).sum(axis=0) < 15**2) | (((grid - 48) ** 2).sum(axis=0) < 8**2)
    image = (rng.normal(100, 20, labels.shape) + 50 * labels).astype(np.float32)[..., np.newaxis]
    whole = fingerprint_of(image, labels.astype(np.uint8))
    monkeypatch.setattr(fingerprint, "MAX_WINDOW_VOXELS", 20_000)  # every third plane, row and column
    monkeypatch.setattr(intensity_normalisation, "MAX_SAMPLE_VOXELS", 40_000)
    thin = fingerprint_of(image, labels.astype(np.uint8))
    assert thin.components == whole.components == (2,)
    assert thin.largest_component == pytest.approx(whole.largest_component, abs=0.03)
    np.testing.assert_allclose(thin.inside, whole.inside, rtol=0.05)
    np.testing.assert_allclose(thin.outside, whole.outside, rtol=0.05)
