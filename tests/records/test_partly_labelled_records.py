"""Cases of which some voxels are labelled: what their shards hold, and what is measured of them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.records import bricks
from kseg.records.manifest import CaseEntry, Shard
from kseg.records.plan import make_plan
from kseg.records.prepared_case import read_case
from kseg.records.scans import Scan, ScanList, at_one_spacing, only_classes, scan_in_memory
from kseg.records.write import preparation_hash
from kseg.records.write_case import CaseJob, write_case
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.intensity_normalisation import intensity_statistics
from kseg.volumes.interpolation import by_label
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

CLASSES, NOBODY = 3, 3
SHAPE = (9, 8, 7)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture(params=[64, 4], ids=["one brick", "bricks of 4"], autouse=True)
def _edge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bricks, "MAX_EDGE", request.param)


def volumes(every: int = 3) -> tuple[Volume, np.ndarray]:
    """An image, brighter where nobody labelled, and class indices of every n-th slice across z."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (*SHAPE, 1)).astype(np.int16)
    indices = np.full(SHAPE, NOBODY, np.uint8)
    indices[..., ::every] = rng.integers(0, CLASSES, indices[..., ::every].shape)
    indices[:4, :4, 0] = 0
    image[indices == NOBODY] += 1000
    return Volume(image, AFFINE, StoredGeometry(SHAPE, AFFINE, ".nii.gz")), indices


def scan() -> Scan:
    return scan_in_memory("leg", "leg", "", *volumes())


def written(of: Scan, folder: Path, classes: int = CLASSES) -> Shard:
    return write_case(CaseJob(of, folder, classes, "0" * 64))[0]


def read(shard: Shard, folder: Path, classes: int = CLASSES):
    return read_case(folder / shard.file, CaseEntry(split="train", **dict(shard)), classes)


def test_a_shard_gives_back_which_voxels_nobody_labelled(tmp_path: Path) -> None:
    _, indices = volumes()
    shard = written(scan(), tmp_path)
    case = read(shard, tmp_path)
    np.testing.assert_array_equal(case.labels, indices)
    np.testing.assert_array_equal(case.truth.array, indices)
    assert shard.partly_labelled
    assert shard.class_voxels == tuple(np.bincount(indices.ravel(), minlength=4)[:CLASSES])


def test_measurements_leave_them_out_and_the_scale_of_the_image_does_not(tmp_path: Path) -> None:
    image, indices = volumes()
    shard = written(scan(), tmp_path)
    for row, where in ((shard.inside, (indices > 0) & (indices < NOBODY)), (shard.outside, indices == 0)):
        expected = intensity_statistics(image.array[where][:, None, None])
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    np.testing.assert_allclose(read(shard, tmp_path).statistics, intensity_statistics(image.array), rtol=1e-6)
    np.testing.assert_allclose(shard.everywhere, intensity_statistics(image.array), rtol=1e-5)
    whole = written(scan_in_memory("leg", "leg", "", image, np.where(indices == NOBODY, 0, indices)), tmp_path)
    assert whole.everywhere == ()
    assert all(count <= np.count_nonzero(indices == index) for index, count in enumerate(shard.components, start=1))


def test_shares_of_classes_are_those_of_the_labelled_voxels(tmp_path: Path) -> None:
    image, indices = volumes(every=7)
    plans = []
    for of in (indices, np.where(indices == NOBODY, 0, indices)):
        shard = written(scan_in_memory("leg", "leg", "", image, of), tmp_path)
        plans.append(make_plan([shard], ["mr"], ["background", "a", "b"], 4.0))
    assert plans[0].foreground_oversampling == 0.33  # more than a tenth of the labelled voxels are in each class
    assert plans[1].foreground_oversampling > plans[0].foreground_oversampling


def test_a_case_without_any_labelled_voxel_is_bad(tmp_path: Path) -> None:
    image, indices = volumes()
    nothing = scan_in_memory("leg", "leg", "", image, np.full_like(indices, NOBODY))
    with pytest.raises(InputError, match="case 'leg' has no voxel that somebody labelled"):
        written(nothing, tmp_path)


def test_an_index_that_no_class_has_is_damage_where_all_is_labelled(tmp_path: Path) -> None:
    shard = written(scan(), tmp_path)
    counts = list(shard.class_voxels)
    counts[0] += math.prod(SHAPE) - sum(counts)
    with pytest.raises(InputError, match="partly labelled in its shard or in the manifest alone"):
        read(shard.model_copy(update={"class_voxels": tuple(counts)}), tmp_path)


def test_some_classes_alone_and_another_spacing_keep_what_nobody_labelled(tmp_path: Path) -> None:
    _, indices = volumes()
    found = ScanList(("mr",), LabelMap(("background", "a", "b"), (0, 1, 2), ignore=9), (scan(),))
    some = only_classes(found, ["b"])
    assert some.labels == LabelMap(("background", "b"), (0, 2), ignore=9)
    case = read(written(some.scans[0], tmp_path, 2), tmp_path, 2)
    np.testing.assert_array_equal(case.labels, np.choose(indices, [0, 0, 1, 2]))
    finer = at_one_spacing(found, (1.0, 1.0, 1.0)).scans[0]
    case = read(written(finer, tmp_path), tmp_path)
    np.testing.assert_array_equal(case.truth.array, indices)
    assert case.labels.shape == (9, 8, 14)
    np.testing.assert_array_equal(case.labels[..., 0], indices[..., 0])
    assert (case.labels[..., 3] == NOBODY).all()


def test_a_new_voxel_is_ignored_where_most_of_it_is_and_not_where_classes_meet() -> None:
    indices = np.array([[[1, NOBODY]], [[2, NOBODY]]], np.uint8)  # shares 0.3, 0.3 and 0.4 in the middle
    where = [np.array([0.5]), np.array([0.0]), np.array([0.375, 0.625])]
    assert by_label(indices, where, ignored=NOBODY).tolist() == [[[1, NOBODY]]]
    assert by_label(indices, where).tolist() == [[[NOBODY, NOBODY]]]
    whole = np.random.default_rng(0).integers(0, CLASSES, (4, 5, 6)).astype(np.uint8)
    places = [np.linspace(0, length - 1, 9) for length in whole.shape]
    np.testing.assert_array_equal(by_label(whole, places, ignored=NOBODY), by_label(whole, places))


def test_what_is_ignored_and_which_slices_count_are_part_of_how_a_case_is_prepared() -> None:
    known = LabelMap(("background", "a"), (0, 1))
    hashes = {
        preparation_hash(labels, ("mr",), (), (), annotation)
        for labels in (known, replace(known, ignore=2), replace(known, ignore=3))
        for annotation in (Annotation(), Annotation(across="x"), Annotation(across="x", empty_value=5))
    }
    assert len(hashes) == 9
    at_1_mm = {
        preparation_hash(labels, ("mr",), (1.0, 1.0, 1.0), (), Annotation())
        for labels in (known, replace(known, ignore=2))
    }
    assert len(at_1_mm | hashes) == 11
