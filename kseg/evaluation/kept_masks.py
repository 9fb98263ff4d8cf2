"""The masks of scored cases, kept in the run's folder to be looked at; those that somebody corrected are theirs."""

import os
from collections.abc import Iterable

import numpy as np

from kseg.console.errors import InputError
from kseg.runs.run_folder import RunFolder
from kseg.volumes.labels import LabelMap
from kseg.volumes.mask_hash import is_as_written
from kseg.volumes.volume import Volume
from kseg.volumes.write import write_label_map


def check_masks(folder: RunFolder, split: str, cases: Iterable[str]) -> None:
    """See to it that the masks of cases are not there, or as kseg wrote them.

    Raises:
        InputError: one is not.
    """
    for case in cases:
        path = folder.mask(split, case)
        if os.path.lexists(path) and not is_as_written(path):
            raise InputError(f"'{path}' is not as kseg wrote it, and would be replaced: move it away, then score again")


def keep_mask(folder: RunFolder, split: str, case: str, indices: np.ndarray, truth: Volume, labels: LabelMap) -> None:
    """Write the mask of a case, with the label values of the dataset.

    Args:
        folder: of the run.
        split: of the case.
        case: its name.
        indices: class indices `(x, y, z)` on the scan's own grid.
        truth: on that grid.
        labels: of the run.
    """
    write_label_map(folder.mask(split, case), labels.to_values(indices), truth.stored)
