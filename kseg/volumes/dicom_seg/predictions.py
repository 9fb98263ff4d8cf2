"""The DICOM SEGs of a command: those beside the masks of DICOM series, and why others have none."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.recipe.types import Code
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.dicom_seg.segments import segments_of
from kseg.volumes.dicom_seg.write import no_seg, write_dicom_seg
from kseg.volumes.stored_geometry import StoredGeometry


class SegWriter:
    """Writes the DICOM SEG of each mask of a run.

    Args:
        structures: names, each with its label values; empty where they are not known.
        codes: of structures, by name.
        algorithm: what makes the masks.
    """

    def __init__(
        self, structures: Mapping[str, Collection[int]], codes: Mapping[str, Code], algorithm: Algorithm
    ) -> None:
        self._structures, self._codes, self._algorithm = structures, codes, algorithm

    def write(
        self, path: Path | None, mask: np.ndarray, scan: Path, stored: StoredGeometry, by_hand: bool
    ) -> list[str]:
        """Write that of a mask, integers (x, y, z), and return lines for the user.

        Args:
            path: where it goes; None where the scan is no DICOM.
            mask: label values.
            scan: folder of the series, or a file of many frames.
            stored: its grid.
            by_hand: whether some of the mask was drawn by a person.

        Raises:
            InputError: there can be none, and why.
            OSError: the disk refuses.
        """
        if path is None:
            raise no_seg(f"'{scan}' is no DICOM series or file, whose images a DICOM SEG refers to")
        try:
            segments = segments_of(mask, self._structures, self._codes)
        except InputError as error:
            raise no_seg(f"'{scan}': {error}") from None
        notes = write_dicom_seg(path, mask, segments, scan, stored, self._algorithm, by_hand)
        labels = ", ".join(segment.label for segment in segments)
        return [*(f"note: '{scan}' {note}" for note in notes), f"{path}: DICOM SEG, segments {labels}"]
