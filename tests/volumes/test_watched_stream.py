"""What is measured of a stream as it is read is what would be measured of the volume."""

import numpy as np
import pytest

from kseg.volumes.intensity_normalisation import intensity_statistics
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume
from kseg.volumes.watched_stream import WatchedStream


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize(("axis", "downwards"), [(0, False), (1, True), (2, True)])
def test_statistics_are_those_of_the_volume_and_voxels_pass_unchanged(dtype: type, axis: int, downwards: bool) -> None:
    array = np.random.default_rng(0).integers(0, 120, (40, 7, 50, 2)).astype(dtype)
    volume = Volume(array, np.eye(4), StoredGeometry((40, 7, 50), np.eye(4), ".nii"))
    watched = WatchedStream(stream_of_volume(volume, axis, downwards))
    assert watched.statistics is None
    for _ in range(2):  # who reads twice, as after a lost connection, is not counted twice
        np.testing.assert_array_equal(gather(watched.stream, "it").array, array)
        np.testing.assert_allclose(watched.statistics, intensity_statistics(array), rtol=1e-5)
