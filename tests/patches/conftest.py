"""Cases as the tf.data graph sees them, made from arrays."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.shards import read_head
from kseg.records import bricks
from kseg.records.scans import scan_in_memory
from kseg.records.write_case import CaseJob, write_case
from kseg.volumes.labels import index_dtype
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume


@pytest.fixture
def edge() -> int:
    """Longest edge of a brick, voxels."""
    return 64


@pytest.fixture
def parsed(
    edge: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]:
    """Read the head of what an image `(x, y, z, channels)` and its class indices `(x, y, z)` become in a shard."""
    monkeypatch.setattr(bricks, "MAX_EDGE", edge)
    numbers = count()

    def parse_arrays(image: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, Any]:
        volume = Volume(image, np.eye(4), StoredGeometry(labels.shape, np.eye(4), ".nii.gz"))
        scan = scan_in_memory(f"case_{next(numbers)}", "a", "", volume, labels.astype(index_dtype(num_classes)))
        shard, _ = write_case(CaseJob(scan, tmp_path, num_classes, "0" * 64))
        return read_head(tf.constant(str(tmp_path / shard.file)), tf.constant(shard.head, tf.int64), tf.ones([3]))

    return parse_arrays
