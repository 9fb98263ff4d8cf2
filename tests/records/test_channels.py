"""One rule of channels for a dataset: every case holds those that it names, in one file or a file for each."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.types import SPLITS
from kseg.records.manifest import load_manifest
from kseg.records.prepared_case import read_cases
from kseg.records.scans import find_scans
from kseg.records.write import write_dataset

RNG = np.random.default_rng(0)
LABELS = "data.labels={background=0, muscle=1}"


def image(channels: int = 1, dtype: str = "int16") -> np.ndarray:
    shape = (6, 5, 4, channels) if channels > 1 else (6, 5, 4)
    return RNG.integers(0, 99, shape).astype(dtype)


def save(path: Path, array: np.ndarray) -> str:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".nii":
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    else:
        voxels = np.ascontiguousarray(array.transpose(2, 1, 0, *range(3, array.ndim)))
        sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=array.ndim == 4), str(path))
    return path.name


def prepared(folder: Path, columns: list[list[np.ndarray]], extension: str = ".nii", skip_bad: bool = False):
    """Prepare a CSV whose case number n has in column k the image `columns[n][k]`; `image` or `image_a`, `image_b`."""
    names = ["image"] if len(columns[0]) == 1 else [f"image_{letter}" for letter in "abc"[: len(columns[0])]]
    rows = [",".join(["case", "subject", "split", *names, "label"])]
    for number, (split, images) in enumerate(zip(SPLITS, columns, strict=True)):
        files = [save(folder / f"c{number}_{name}{extension}", one) for name, one in zip(names, images, strict=True)]
        label = save(folder / f"l{number}.nii", (RNG.random((6, 5, 4)) < 0.5).astype(np.uint8))
        if extension != ".nii":
            label = save(folder / f"l{number}.mha", (RNG.random((6, 5, 4)) < 0.5).astype(np.uint8))
        rows.append(",".join([f"c{number}", f"s{number}", split, *files, label]))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = load_recipe(None, [f"data.source={folder}/cases.csv", f"data.records={folder}/records", LABELS])
    return write_dataset(recipe, find_scans(recipe), skip_bad)


def test_one_file_with_all_channels_gives_each_a_name(tmp_path, capsys):
    cases = [[image(2)] for _ in SPLITS]
    manifest = prepared(tmp_path, cases)
    assert manifest.channels == ("image_0", "image_1")
    assert len(manifest.plan.normalisation) == 2
    assert "note: each image of" in capsys.readouterr().err
    (case,) = read_cases(tmp_path / "records", manifest, "test")
    np.testing.assert_array_equal(case.image.array, cases[2][0])


@pytest.mark.parametrize(("odd", "first", "other"), [(0, 2, 1), (1, 1, 2), (2, 1, 2)])
def test_cases_with_other_numbers_of_channels_are_refused_those_to_test_on_too(odd, first, other, tmp_path, capsys):
    cases = [[image(2 if number == odd else 1)] for number in range(3)]
    words = {1: "1 channel", 2: "2 channels"}
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, cases)
    said = f"{capsys.readouterr().err}{caught.value}"
    for named in (1, 2) if odd == 0 else (odd,):
        assert f"case 'c{named}' has {words[other]}, the dataset has {first} " in said


def test_a_case_with_other_channels_can_be_left_out(tmp_path):
    manifest = prepared(tmp_path, [[image()], [image(3)], [image()]], skip_bad=True)
    assert ([case.case for case in manifest.cases], [out.case for out in manifest.left_out]) == (["c0", "c2"], ["c1"])


def test_a_column_for_each_channel_takes_files_of_one(tmp_path, capsys):
    with pytest.raises(InputError, match="3 of 3 cases are bad"):
        prepared(tmp_path, [[image(2), image()] for _ in SPLITS])
    assert "c0_image_a.nii' of case 'c0' holds 2 channels, beside 1 more" in capsys.readouterr().err


def test_colours_are_no_channels(tmp_path):
    with pytest.raises(InputError, match=r"c0_image.mha' holds 3 bytes a voxel, as colours do: export grey values"):
        prepared(tmp_path, [[image(3, "uint8")] for _ in SPLITS], ".mha")
    with pytest.raises(
        InputError, match=r"case 'c1' has 3 channels, the dataset has 1 \(image\): if it is a picture in"
    ):
        prepared(tmp_path, [[image(dtype="uint8")], [image(3, "uint8")], [image(dtype="uint8")]], ".mha")


@pytest.mark.parametrize(("named", "held"), [(1, 2), (2, 2), (4, 2), (3, 1)])
def test_a_decathlon_dataset_has_as_many_channels_as_it_names(named, held, tmp_path, capsys):
    pairs = []
    for number in range(4):
        image_name = save(tmp_path / "imagesTr" / f"b{number}.nii", image(held))
        save(tmp_path / "labelsTr" / f"b{number}.nii", (RNG.random((6, 5, 4)) < 0.5).astype(np.uint8))
        pairs.append({"image": f"./imagesTr/{image_name}", "label": f"./labelsTr/{image_name}"})
    modality = {str(number): f"m{number}" for number in range(named)}
    description = {"modality": modality, "labels": {"0": "background", "1": "leg"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    recipe = load_recipe(None, [f"data.source={tmp_path}", f"data.records={tmp_path}/records"])
    if named == held:
        assert write_dataset(recipe, find_scans(recipe)).channels == ("m0", "m1")
    else:
        held_in_words = "1 channel" if held == 1 else f"{held} channels"
        with pytest.raises(InputError, match="4 of 4 cases are bad"):
            write_dataset(recipe, find_scans(recipe))
        told = capsys.readouterr().err.splitlines()
        assert [line[:11] for line in told] == [f"bad case b{number}" for number in range(4)]
        assert all(f"has {held_in_words}, the dataset has {named} " in line for line in told)


def test_a_dataset_that_was_prepared_with_mixed_channels_is_not_read(tmp_path):
    prepared(tmp_path, [[image()] for _ in SPLITS])
    path = tmp_path / "records" / "manifest.json"
    content = json.loads(path.read_text())
    content["cases"][2]["outside"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="case 'c2' has other channels than the dataset"):
        load_manifest(path.parent)
