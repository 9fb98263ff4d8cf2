"""What a page shows of a run: resampled cases on the scan's own grid, and what nobody labelled."""

import numpy as np
import pytest

from kseg.viewer.scene_of_run import open_scored, structures_of_run
from kseg.volumes.interpolation import linear
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region
from kseg.volumes.resample import at_spacing
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import gather, stream_of_volume

LABELS = LabelMap(("background", "soleus", "not labelled"), (0, 100, 7))


def test_a_resampled_image_comes_back_onto_the_grid_of_its_truth() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    stored = StoredGeometry((24, 20, 16), affine, ".nii.gz")
    ramp = np.add.outer(np.add.outer(3 * np.arange(24), 2 * np.arange(20)), np.arange(16)).astype(np.float32)
    own, truth = (Volume(array, affine, stored) for array in (ramp, (ramp > 60).astype(np.uint8)))
    image = gather(at_spacing(stream_of_volume(own), (2.0, 2.0, 2.0), linear), "leg")
    assert image.shape == (12, 10, 16)
    opened = open_scored(image, truth, stream_of_volume(truth))
    back = gather(opened.image, "leg").array[..., 0]
    assert back[2:-2, 2:-2] == pytest.approx(ramp[2:-2, 2:-2], abs=0.01)
    assert opened.image.affine == pytest.approx(affine)
    assert [*opened.masks] == ["prediction", "truth"]


def test_what_nobody_labelled_is_a_structure_of_its_own() -> None:
    found = structures_of_run(LABELS, partly_labelled=True)
    assert [(one.name, one.values) for one in found] == [
        ("soleus", (1,)),
        ("not labelled", (2,)),
        ("not labelled by anybody", (3,)),
    ]
    assert [one.unlabelled for one in found] == [False, False, True]
    assert [one.name for one in structures_of_run(LABELS, partly_labelled=False)] == ["soleus", "not labelled"]


def test_regions_are_shown_by_their_names_and_joined_where_they_overlap() -> None:
    regions = (
        Region(name="kidney", labels=("label_1", "tumour", "cyst"), writes="label_1"),
        Region(name="masses", labels=("tumour", "cyst"), writes="cyst"),
        Region(name="tumour", labels=("tumour",), writes="tumour"),
    )
    found = structures_of_run(LabelMap(("background", "label_1", "tumour", "cyst"), (0, 1, 2, 3), None, regions), False)
    assert [(one.name, one.values) for one in found] == [
        ("kidney", (1,)),
        ("kidney + masses + tumour", (2,)),
        ("kidney + masses", (3,)),
    ]
