"""A volume beyond what gRPC takes by itself: in a file of its own, because it needs memory in three processes."""

from pathlib import Path

import numpy as np
from running import Server
from served_scans import SPACING_MM, read, save, segment, volume
from stand_in import expected


def test_100_megabytes_by_grpc(server: Server, tmp_path: Path) -> None:
    block = volume(64, 64, 50)
    assert 8**3 * block.nbytes > 100e6
    segment(server, "grpc", "leg", save(tmp_path / "scan.nii", np.tile(block, (8, 8, 8))), out=tmp_path / "out")
    labels_of_a_slab = expected(np.tile(block, (1, 8, 8)), SPACING_MM, "uint8")
    for labels in np.split(read(tmp_path / "out" / "scan.nii"), 8):  # along x, where all eight are alike
        np.testing.assert_array_equal(labels, labels_of_a_slab)
