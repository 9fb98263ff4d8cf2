"""Scans of different spacings, from preparing to the mask on a scan's own grid."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, predict, prepare, train
from kseg.console.errors import InputError
from kseg.inference.segment_volumes import segment_scan
from kseg.inference.uncertainty import Uncertainty
from kseg.records.manifest import load_manifest
from kseg.records.prepared_case import read_cases
from kseg.volumes.read import open_image

SPACINGS_MM = {"a": (1.0, 1.0, 1.0), "b": (0.5, 0.5, 2.0), "c": (2.0, 1.0, 0.7), "d": (1.0, 1.5, 1.0)}
RADIUS_MM = 11.0
DATA = {
    "source": "cases.csv",
    "records": "tfrecords/balls",
    "labels": {"background": 0, "ball": 7},
    "spacing_mm": [1.2, 1.2, 1.2],
}


def write_ball(folder, name, spacing_mm):
    """A ball of 11 mm, 3 mm off the middle along z, in a box of 36 mm; the image shows it, with noise."""
    shape = [round(36 / mm) for mm in spacing_mm]
    axes = [(np.arange(n) - (n - 1) / 2) * mm - off for n, mm, off in zip(shape, spacing_mm, (0, 0, 3), strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    ball = x**2 + y**2 + z**2 < RADIUS_MM**2
    affine = np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1])
    noise = np.random.default_rng(0).normal(0, 5, shape)
    for kind, array in (("image", 20 + 100 * ball + noise), ("label", 7 * ball)):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), folder / f"{name}_{kind}.nii.gz")


@pytest.fixture(scope="module")
def trained_balls(tmp_path_factory):
    """A working folder in which four balls are prepared and a run trained."""
    folder = tmp_path_factory.mktemp("spacings")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rows = ["case,subject,split,image,label"]
        for (name, spacing_mm), split in zip(SPACINGS_MM.items(), ("train", "train", "val", "test"), strict=True):
            write_ball(folder, name, spacing_mm)
            rows.append(f"{name},{name},{split},{name}_image.nii.gz,{name}_label.nii.gz")
        Path("cases.csv").write_text("\n".join(rows), encoding="utf-8")
        Path("balls.toml").write_text(recipe_text("balls", data=DATA, train={"epochs": 1}), encoding="utf-8")
        prepare.main(["balls.toml"])
        train.main(["balls.toml"])
    return folder


@pytest.fixture(autouse=True)
def _there(trained_balls, monkeypatch):
    monkeypatch.chdir(trained_balls)


def test_every_case_is_prepared_at_the_spacing_with_its_volume_and_its_place():
    manifest = load_manifest(Path("tfrecords/balls"))
    assert manifest.spacing_mm == (1.2, 1.2, 1.2)
    assert manifest.plan.warnings == ()
    for case in manifest.cases:
        assert case.own_spacing_mm == pytest.approx(SPACINGS_MM[case.case])
    for split in ("train", "val", "test"):
        for case in read_cases(Path("tfrecords/balls"), manifest, split):
            np.testing.assert_allclose(case.image.spacing_mm, 1.2)
            assert case.image.shape == (30, 30, 30)
            stored = nib.load(f"{case.case}_label.nii.gz")
            voxels = np.argwhere(np.asarray(stored.dataobj))
            assert case.labels.sum() * 1.2**3 == pytest.approx(len(voxels) * np.prod(SPACINGS_MM[case.case]), rel=0.04)
            truth = nib.affines.apply_affine(stored.affine, voxels).mean(axis=0)
            found = nib.affines.apply_affine(case.image.affine, np.argwhere(case.labels)).mean(axis=0)
            np.testing.assert_allclose(found, truth, atol=0.15)
            own = np.asarray(nib.as_closest_canonical(stored).dataobj) > 0
            np.testing.assert_array_equal(case.truth.array, own)
            np.testing.assert_allclose(case.truth.spacing_mm, SPACINGS_MM[case.case], rtol=1e-6)
            inside = case.image.array[case.labels > 0].mean()
            assert inside > 110


def test_another_spacing_is_another_way_to_prepare():
    with pytest.raises(InputError, match="the recipe, or kseg, prepares cases in another way now"):
        prepare.main(["balls.toml", "data.spacing_mm=[1.2, 1.2, 1.3]"])
    with pytest.raises(InputError, match=r"'data\.spacing_mm': it must have three numbers"):
        prepare.main(["balls.toml", "data.spacing_mm=[1.2, 1.2]"])


def test_a_spacing_that_is_far_too_fine_names_the_cases(capsys):
    with pytest.raises(InputError):
        prepare.main(["balls.toml", "data.spacing_mm=[0.001, 0.001, 0.001]", "data.records=tfrecords/fine"])
    assert re.search(r"case 'a': `spacing_mm` .* choose a coarser one", capsys.readouterr().err)


def test_a_mask_lies_on_the_scans_own_grid(tmp_path, capsys):
    assert json.loads(Path("saved_models/balls/data.json").read_text())["spacing_mm"] == [1.2, 1.2, 1.2]
    predict.main(["balls", "b_image.nii.gz", "c_image.nii.gz", "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert "at 1.2 x 1.2 x 1.2 mm, to which scans are resampled" in said
    assert "unlike" not in said
    for name in ("b", "c"):
        scan, mask = nib.load(f"{name}_image.nii.gz"), nib.load(tmp_path / f"{name}_image.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine)


@pytest.mark.parametrize("name", SPACINGS_MM)
def test_segmenting_at_another_spacing_finds_what_is_there(name):
    seen = []

    def threshold(image, progress, uncertainty=None):
        seen.append(image.shape)
        mask = (image[..., 0] > 70).astype(np.uint8)
        if uncertainty:
            uncertainty.entropy = 100 * mask
        return mask

    scan = open_image([Path(f"{name}_image.nii.gz")], name)
    mask = segment_scan(scan, name, threshold, (1.2, 1.2, 1.2), iter)
    assert seen == [(30, 30, 30, 1)]
    truth = np.asarray(nib.as_closest_canonical(nib.load(f"{name}_label.nii.gz")).dataobj) > 0
    assert mask.shape == truth.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.96
    uncertainty = Uncertainty(2, with_entropy=True)
    segment_scan(scan, name, threshold, (1.2, 1.2, 1.2), iter, uncertainty)
    assert uncertainty.entropy.shape == truth.shape  # on the scan's own grid, too
    assert ((uncertainty.entropy > 50) != mask).mean() < 1e-3


def test_scores_are_those_of_the_mask_on_the_scans_own_grid(tmp_path, capsys):
    evaluate.main(["balls", "evaluation.postprocessing=none", "--json"])
    (scored,) = last_json(capsys.readouterr().out)["summary"]["classes"].values()
    predict.main(["balls", "d_image.nii.gz", "--out", str(tmp_path), "evaluation.postprocessing=none"])
    mask, truth = (np.asarray(nib.load(path).dataobj) > 0 for path in (tmp_path / "d_image.nii.gz", "d_label.nii.gz"))
    assert mask.any()
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert scored["dice"]["mean"] == pytest.approx(dice, abs=1e-6)
    with Path("saved_models/balls/evaluation/test_measures.csv").open(encoding="utf-8", newline="") as file:
        measured = {row["source"]: row for row in csv.DictReader(file)}
    voxel_ml = np.prod(SPACINGS_MM["d"]) / 1000
    for source, voxels in (("truth", truth), ("prediction", mask)):
        assert float(measured[source]["volume_ml"]) == pytest.approx(voxels.sum() * voxel_ml, rel=1e-6)
        assert measured[source]["image_mean"] == ""  # the scan's own voxels are not in the dataset


def test_a_dataset_at_another_spacing_is_not_the_runs(capsys):
    evaluate.main(["balls", "--json"])
    capsys.readouterr()
    prepare.main(["balls.toml", "data.spacing_mm=[]", "data.records=tfrecords/own"])
    assert "set data.spacing_mm = [1, 1, 1] and prepare again" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"has data\.spacing_mm '\[\]' instead of '\[1.2, 1.2, 1.2\]'"):
        evaluate.main(["balls", "--records", "tfrecords/own"])
