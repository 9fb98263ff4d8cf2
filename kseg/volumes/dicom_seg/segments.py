"""What a DICOM SEG says of each structure, and which voxels of a mask are whose."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kseg.console.errors import InputError
from kseg.recipe.types import Code

if TYPE_CHECKING:
    from pydicom.sr.coding import Code as DicomCode

LONGEST_LABEL = 64
"""Characters that DICOM takes for a segment's label."""
MAX_SEGMENTS = 65535


@dataclass(frozen=True)
class Segment:
    """A structure: its name, the values of its voxels in a mask, and its code, where the recipe gives one."""

    name: str
    values: tuple[int, ...]
    code: Code | None = None

    @property
    def label(self) -> str:
        """The name as DICOM takes it: a backslash would begin a second name there."""
        return self.name.replace("\\", "/")[:LONGEST_LABEL]


def segments_of(
    mask: np.ndarray, structures: Mapping[str, Collection[int]], codes: Mapping[str, Code]
) -> list[Segment]:
    """Return the segments of a mask in order, one for each row that it has in the table of volumes.

    Args:
        mask: label values, integers (x, y, z).
        structures: names, each with its label values; if empty, what is there is "label 1" and so on.
        codes: of structures, by name.

    Raises:
        InputError: nothing has a name, and nothing is there.
    """
    named: Mapping[str, Collection[int]] = structures
    if not named:
        values = sorted({int(value) for plane in mask for value in np.unique(plane)} - {0})
        named = {f"label {value}": (value,) for value in values}
    if not named:
        raise InputError("the mask is empty, and nobody says what might have been in it")
    return [Segment(name, tuple(values), codes.get(name)) for name, values in named.items()]


def check_codes(codes: Mapping[str, Code], known: Collection[str]) -> None:
    """Raise `InputError` where a code is of no class or region that there is."""
    if unknown := [name for name in codes if name not in known]:
        there = ", ".join(sorted(known))
        raise InputError(f"data.codes has '{unknown[0]}', which is no class or region: known are {there}")


def property_of(code: Code | None) -> "tuple[DicomCode, DicomCode]":
    """Return the category and the type of a segment by its code; without one both are tissue, as 3D Slicer has it.

    The category follows from where DICOM lists the code: lesions (context group 7159) are abnormal structures, tissues
    (7166) tissue, other codes anatomical structures.

    Example:
        >>> from kseg.volumes.dicom_seg.segments import property_of
        >>> [code.meaning for code in property_of(("108369006", "SCT", "Neoplasm"))]
        ['Morphologically Abnormal Structure', 'Neoplasm']
        >>> [code.meaning for code in property_of(("10200004", "SCT", "Liver"))]
        ['Anatomical Structure', 'Liver']
    """
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code as DicomCode

    categories = codes.cid7150
    if code is None:
        return categories.Tissue, codes.SCT.Tissue
    groups = ((codes.cid7159, categories.MorphologicallyAbnormalStructure), (codes.cid7166, categories.Tissue))
    for group, category in groups:
        listed = (getattr(group, name) for name in group.dir())
        if any((one.value, one.scheme_designator) == code[:2] for one in listed):
            return category, DicomCode(*code)
    return categories.AnatomicalStructure, DicomCode(*code)


def segment_pixels(planes: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Return which pixels are whose, as highdicom takes it.

    Args:
        planes: label values, integers (planes, rows, columns).
        segments: in order; number 1 is the first.

    Returns:
        Segment numbers, 0 for none, (planes, rows, columns); or, where a value is in several segments, Boolean (planes,
        rows, columns, segments).
    """
    owners: dict[int, list[int]] = {}
    for number, segment in enumerate(segments, start=1):
        for value in segment.values:
            owners.setdefault(value, []).append(number)
    overlap = any(len(numbers) > 1 for numbers in owners.values())
    if overlap:
        pixels = np.zeros((*planes.shape, len(segments)), bool)
    else:
        pixels = np.zeros(planes.shape, np.uint8 if len(segments) < 256 else np.uint16)
    for plane, target in zip(planes, pixels, strict=True):  # plane by plane, because comparing takes memory
        for value in np.unique(plane).tolist():
            for number in owners.get(value, ()):
                if overlap:
                    target[..., number - 1] |= plane == value
                else:
                    target[plane == value] = number
    return pixels
