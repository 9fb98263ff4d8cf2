"""A `kseg.inference.predictor.Predictor` without a network, whose masks are known beforehand."""

from typing import Any

import numpy as np

from kseg.inference.predictor import Segmentation
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.volume_stream import VolumeStream, gather


class Threshold:
    """Marks with `value` what is brighter than `above`; `begins` counts how often its model was loaded."""

    channel_names = ()
    seen = None

    def __init__(
        self, above: float, value: int = 200, channels: int | None = 1, assume_spacing_mm: tuple[float, ...] = ()
    ) -> None:
        self.above, self.value = above, value
        self.channels, self.assume_spacing_mm = channels, assume_spacing_mm
        self.identity: dict[str, Any] = {"run": "a threshold"}
        self.labels_of_files = None
        self.structures = {"bright": (value,)}
        self.codes: dict[str, tuple[str, str, str]] = {}
        self.algorithm = Algorithm("a threshold")
        self.begins = 0

    def start(self) -> str:
        self.begins += 1
        return "a threshold"

    def segment(self, scan: VolumeStream, name: str, _: object, with_entropy: bool = False) -> Segmentation:
        mask = np.where(gather(scan, name).array[..., 0] > self.above, self.value, 0)
        return Segmentation(mask.astype(np.uint8))
