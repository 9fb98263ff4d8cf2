"""The image within a structure: hand-worked, and beside NumPy's for every type of voxels."""

import numpy as np
import pytest

from kseg.measures.intensities import Intensity, LabelIntensities
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_volume


def stream(array: np.ndarray, axis: int = 2, downwards: bool = False) -> VolumeStream:
    return stream_of_volume(
        Volume(array, np.eye(4), StoredGeometry(array.shape[:3], np.eye(4), ".nii")), axis, downwards
    )


def test_a_hand_worked_structure() -> None:
    image = np.array([[[10, 20, 40, 90]]], np.uint8)
    mask = np.array([[[1, 1, 2, 0]]])
    found = LabelIntensities(stream(image), mask, [1, 2, 3])
    assert found.of([1]) == Intensity(15, pytest.approx(np.sqrt(50)), 15)
    assert found.of([2]) == Intensity(40, None, 40)
    assert found.of([3]) is None
    assert found.of([1, 2]) == Intensity(pytest.approx(70 / 3), pytest.approx(np.std([10, 20, 40], ddof=1)), 20)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "f4"])
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("downwards", [False, True])
def test_every_type_and_order_of_slabs(dtype: str, axis: int, downwards: bool) -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(scale=3e4, size=(19, 20, 21))
    image = wide.astype(dtype) if dtype in ("i4", "f4") else rng.integers(*_range(dtype), (19, 20, 21)).astype(dtype)
    mask = rng.integers(0, 4, image.shape).astype(np.uint8) * 50
    found = LabelIntensities(stream(image, axis, downwards), mask, [50, 100])
    for values in ([50], [100], [50, 100]):
        own = image[np.isin(mask, values)].astype(np.float64)
        expected = Intensity(*(pytest.approx(number) for number in (own.mean(), own.std(ddof=1), np.median(own))))
        assert found.of(values) == expected


def test_of_several_channels_the_first_counts() -> None:
    image = np.stack([np.full((3, 4, 5), 7, np.uint8), np.full((3, 4, 5), 99, np.uint8)], axis=-1)
    found = LabelIntensities(stream(image), np.ones((3, 4, 5), np.uint8), [1]).of([1])
    assert found == Intensity(7, 0, 7)


def _range(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max) + 1
