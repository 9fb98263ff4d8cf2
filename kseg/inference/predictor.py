"""What scans are segmented with: one function from a scan to its label map, wherever the network runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kseg.recipe.types import Spacing
from kseg.runs.seen_scans import SeenScans
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.labels import LabelMap
from kseg.volumes.volume_stream import VolumeStream

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Passes the parts of a job on, one by one, while a user sees how many are done."""


class Predictor(Protocol):
    """A trained run that is loaded here, a model that a server holds, ...

    Making one is quick, so that what is wrong with a command is said at once; `start` makes it ready for `segment`.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a report says of it."""

    @property
    def channels(self) -> int | None:
        """How many a scan must have; None where nobody knows before it is segmented."""

    @property
    def channel_names(self) -> Sequence[str]:
        """Their names; empty where they are not known."""

    @property
    def assume_spacing_mm(self) -> Spacing:
        """The spacing that the run assumed for files that do not state theirs; empty where none is known."""

    @property
    def structures(self) -> Mapping[int, str]:
        """Names of label values, without the background; empty where they are not known."""

    @property
    def labels_in_files(self) -> tuple[LabelMap, Annotation] | None:
        """The labels of the training, and which slices of them counted; None where that is not known."""

    @property
    def seen(self) -> SeenScans | None:
        """What the scans of the training were like; None where it is not known."""

    def start(self) -> str:
        """Load what is needed, and return a line on how scans are segmented. Raises `InputError` if it is damaged."""

    def segment(self, scan: VolumeStream, name: str, progress: Progress) -> np.ndarray:
        """Segment a scan, not read yet, and return label values, integers `(x, y, z)`, on its own grid.

        `name` stands for the scan in messages, `progress` wraps what is done one after another.

        Raises:
            InputError: the scan is damaged, has other channels, or does not fit into memory; or it cannot be segmented.
        """
