"""DICOM SEG read for tests by the positions of its frames, without highdicom, and compared with a mask in NIfTI."""

from collections.abc import Collection, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom import Dataset, dcmread

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def voxels_of(seg: Dataset) -> dict[str, np.ndarray]:
    """Centres of the voxels of each segment by its label, RAS mm (n, 3), in no order."""
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    shared = seg.SharedFunctionalGroupsSequence[0]
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    along_row, down_column = cosines[:3] * between_columns, cosines[3:] * between_rows
    # Bits lie one after another, the lowest first, across the borders of frames.
    size = (int(seg.NumberOfFrames), int(seg.Rows), int(seg.Columns))
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: np.prod(size)].reshape(size)
    found: dict[str, list[np.ndarray]] = {label: [np.empty((0, 3))] for label in labels.values()}
    for frame, groups in zip(bits, seg.PerFrameFunctionalGroupsSequence, strict=True):
        of_segment = groups if "SegmentIdentificationSequence" in groups else shared
        number = int(of_segment.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        places = corner + rows[:, None] * down_column + columns[:, None] * along_row
        found[labels[number]].append(places * LPS_TO_RAS)
    return {label: np.concatenate(places) for label, places in found.items()}


def assert_overlays(seg_path: Path, mask_path: Path, structures: Mapping[str, Collection[int]]) -> None:
    """Each segment has just the voxels of a NIfTI mask that have its values, each within 0.01 mm of its place."""
    mask = nib.load(mask_path)
    values = np.asarray(mask.dataobj)
    to_indices = np.linalg.inv(mask.affine)
    seg = dcmread(seg_path)
    found = voxels_of(seg)
    assert list(found) == list(structures)
    for label, own in structures.items():
        indices = found[label] @ to_indices[:3, :3].T + to_indices[:3, 3]
        whole = indices.round().astype(int)
        assert np.abs((indices - whole) @ mask.affine[:3, :3].T).max(initial=0) < 0.01
        marked = np.zeros(values.shape, int)
        np.add.at(marked, tuple(whole.T), 1)  # a voxel that is marked twice would be 2
        np.testing.assert_array_equal(marked, np.isin(values, list(own)).astype(int))
