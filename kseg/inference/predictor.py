"""What scans are segmented with: one function from a scan to its label map, wherever the network runs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kseg.recipe.types import Code, Spacing
from kseg.runs.seen_scans import SeenScans
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.kept_annotation import LabelsOfFiles
from kseg.volumes.volume_stream import VolumeStream

if TYPE_CHECKING:
    from kseg.inference.expected_dice import Expectation

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Passes the parts of a job on, one by one, while a user sees how many are done."""


@dataclass(frozen=True)
class Segmentation:
    """A scan's label map, and what its predictor knows of how good it is."""

    values: np.ndarray
    """Label values, integers `(x, y, z)`, on the scan's own grid."""
    agreement: Mapping[str, float | None] = field(default_factory=dict)
    """Of the opinions on each structure (`kseg.inference.uncertainty`), 0 to 1; empty where that is not known."""
    expected: Mapping[str, "Expectation"] = field(default_factory=dict)
    """The Dice to be expected of a structure, of those of which something is."""
    entropy: np.ndarray | None = None
    """Percent of the largest possible, uint8 `(x, y, z)`, where it was asked for."""


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
    def structures(self) -> Mapping[str, Collection[int]]:
        """Each structure's name and its label values, without the background; empty where they are not known."""

    @property
    def codes(self) -> Mapping[str, Code]:
        """DICOM's codes of structures, by name, of those to which the recipe gives one."""

    @property
    def algorithm(self) -> Algorithm:
        """What a DICOM SEG says that it was made by."""

    @property
    def labels_of_files(self) -> LabelsOfFiles | None:
        """How label files were read in training; None where that is not known."""

    @property
    def seen(self) -> SeenScans | None:
        """What the scans of the training were like; None where it is not known."""

    def start(self) -> str:
        """Load what is needed, and return a line on how scans are segmented. Raises `InputError` if it is damaged."""

    def segment(self, scan: VolumeStream, name: str, progress: Progress, with_entropy: bool = False) -> Segmentation:
        """Segment a scan, not read yet.

        `name` stands for the scan in messages, `progress` wraps what is done one after another.

        Raises:
            InputError: the scan is damaged, has other channels, or does not fit into memory; or it cannot be segmented.
        """
