"""Records as the tf.data graph sees them, made from arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kseg.records.intensity import intensity_statistics
from kseg.records.schema import Record, encode, label_dtype, parse
from kseg.volumes.volume import StoredGeometry, Volume


@pytest.fixture
def parsed() -> Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]:
    """Parse what an image `(x, y, z, channels)` and its class indices `(x, y, z)` become in a shard."""

    def parse_arrays(image: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, Any]:
        stored = StoredGeometry(labels.shape, np.eye(4), ".nii.gz")
        volume, indices = Volume(image, np.eye(4), stored), labels.astype(label_dtype(num_classes))
        return parse(encode(Record("a", "a", volume, indices, intensity_statistics(image)), num_classes))

    return parse_arrays
