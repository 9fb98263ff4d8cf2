"""What is measured of the masks of a case: nothing of one that was labelled in part."""

import numpy as np

from kseg.viewer.scene import OpenCase, Structure
from kseg.viewer.volume_files import measured_masks
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_volume

SOLEUS = Structure("soleus", (1,), "#000000")
NOBODY = Structure("not labelled", (2,), "#111111", unlabelled=True)


def of_labels(labels: np.ndarray) -> VolumeStream:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    return stream_of_volume(Volume(labels, affine, StoredGeometry(labels.shape, affine, ".nii")))


def test_a_mask_that_was_labelled_in_part_has_no_volumes() -> None:
    whole = np.zeros((6, 5, 4), np.uint8)
    whole[1:4, 1:3, 1:3] = 1
    partly = whole.copy()
    partly[..., 3] = 2
    opened = OpenCase(of_labels(whole), {"prediction": of_labels(whole), "truth": of_labels(partly)})
    measured = measured_masks(opened, [SOLEUS, NOBODY])
    assert [(row["structure"], row["volume_ml"]) for row in measured["prediction"]] == [("soleus", 12 * 2 / 1000)]
    assert measured["truth"] == []
