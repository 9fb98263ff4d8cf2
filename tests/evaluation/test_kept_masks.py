"""Masks of scored cases: as the dataset has labels, and no longer kseg's once somebody corrected them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.evaluation.kept_masks import check_masks, keep_mask
from kseg.runs.owned_files import RUN
from kseg.runs.run_folder import RunFolder
from kseg.storage.ownership import mark
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

LABELS = LabelMap(("background", "soleus", "gm"), (0, 100, 150))


@pytest.fixture
def kept(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.evaluation.mkdir(parents=True)
    mark(folder.path, RUN)
    affine = np.diag([-2.0, 1.0, 1.0, 1.0])
    truth = Volume(np.zeros((4, 3, 2), np.uint8), np.diag([2.0, 1, 1, 1]), StoredGeometry((4, 3, 2), affine, "dicom"))
    indices = np.arange(24).reshape(4, 3, 2) % 3
    keep_mask(folder, "test", "leg", indices.astype(np.uint8), truth, LABELS)
    return folder


def correct(path: Path) -> None:
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj).copy()
    array[0, 0, 0] = 100
    nibabel.save(nibabel.Nifti1Image(array, image.affine, image.header), path)


def test_a_mask_has_the_datasets_values_in_the_files_order(kept: RunFolder) -> None:
    stored = np.asanyarray(nibabel.load(kept.mask("test", "leg")).dataobj)
    assert stored[::-1].ravel().tolist() == [0, 100, 150] * 8


def test_a_corrected_mask_is_not_replaced(kept: RunFolder) -> None:
    check_masks(kept, "test", ["leg", "another"])
    correct(kept.mask("test", "leg"))
    with pytest.raises(
        InputError, match=r"test-leg\.nii\.gz' is not as kseg wrote it, and would be replaced: move it away"
    ):
        check_masks(kept, "test", ["leg"])
    check_masks(kept, "test", ["another"])


def test_a_run_with_a_corrected_mask_is_not_replaced(kept: RunFolder) -> None:
    assert RUN.changed(kept.path) == set()
    correct(kept.mask("test", "leg"))
    assert RUN.changed(kept.path) == {"evaluation/test-leg.nii.gz"}
