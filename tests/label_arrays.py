"""The labels of a case as one array, which kseg itself reads slab by slab."""

from pathlib import Path

import numpy as np

from kseg.volumes.labels import LabelMap
from kseg.volumes.read import open_labels
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather


def read_labels(path: Path, label_map: LabelMap, image: Volume, case: str) -> np.ndarray:
    """Class indices (x, y, z) of a case on the grid of `image`."""
    return gather(open_labels(path, label_map, image, case), f"label '{path}'").array[..., 0]
