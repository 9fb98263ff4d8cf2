"""Whatever decides what a prepared dataset holds is compared; what does not decide it is no change."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from damage import flip_bits
from made_dicom import save_series

from kseg import prepare
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.manifest import Manifest, load_manifest, manifest_text
from kseg.records.scans import find_scans
from kseg.records.source_changes import find_changes
from kseg.records.write import write_dataset

IMAGE = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype("<i2")
PLANES = [IMAGE[:, :, k].tobytes("F") for k in range(6)]
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\n{}DimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = "
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nspacings: 1 1 1\nendian: little\nencoding: raw\ndata file: "
HEADERS = {"leg.mhd": META.format("ElementSpacing = 1 1 1\n"), "leg.nhdr": NRRD}


def own_copy(folder: Path, image: str, number: int) -> str:
    """Another name of the same content: no scan may be of two subjects. A header's voxels stay where they are."""
    copy = shutil.copytree if (folder / image).is_dir() else shutil.copyfile
    copy(folder / image, folder / f"{number}_{image}")
    return f"{number}_{image}"


def table(folder: Path, images: list[str]) -> list[str]:
    """A CSV of three cases, the labels of which are a box; the command's words."""
    labels = np.zeros(IMAGE.shape, np.uint8)
    labels[1:3, 1:3, 2:4] = 1
    nib.save(nib.Nifti1Image(labels, np.diag([-1, -1, 1, 1])), folder / "labels.nii")
    images = [own_copy(folder, image, n) if image in images[:n] else image for n, image in enumerate(images)]
    rows = [f"c{n},c{n},{split},{images[n]},labels.nii" for n, split in enumerate(("train", "train", "val"))]
    (folder / "cases.csv").write_text("\n".join(["case,subject,split,image,label", *rows]))
    labels_word = "data.labels={background = 0, muscle = 1}"
    return [f"data.source={folder / 'cases.csv'}", labels_word, f"data.records={folder / 'records'}"]


def prepared(words: list[str], skip_bad: bool = False) -> Manifest:
    recipe = load_recipe(None, words)
    write_dataset(recipe, find_scans(recipe), skip_bad)
    return load_manifest(recipe.records_folder)


def changes(words: list[str], manifest: Manifest) -> list[str]:
    recipe = load_recipe(None, words)
    return find_changes(recipe, find_scans(recipe), manifest).phrases


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("elsewhere/voxels", ["elsewhere/voxels"]),
        ("plane%02d.raw 0 5 1", [f"plane{k:02d}.raw" for k in range(6)]),
        ("LIST", [f"{k}.plane" for k in range(6)]),
    ],
)
def test_voxels_are_found_by_their_header(tmp_path: Path, header: str, data: str, names: list[str]) -> None:
    listed = "".join(f"\n{name}" for name in names) if data == "LIST" else ""
    (tmp_path / header).write_text(f"{HEADERS[header]}{data}{listed}\n")
    files = [tmp_path / name for name in names]
    for file, content in zip(files, PLANES if len(names) > 1 else [b"".join(PLANES)], strict=True):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    (tmp_path / "leg.txt").write_text("a note beside the header is none of its voxels")
    words = table(tmp_path, [header] * 3)
    manifest = prepared(words)
    (tmp_path / "leg.txt").write_text("another")
    assert changes(words, manifest) == []
    flip_bits(files[-1], -4)
    assert changes(words, manifest) == [f"the files of case 'c{n}' have changed" for n in range(3)]
    files[-1].unlink()
    assert changes(words, manifest) == [f"the files of case 'c{n}' have changed" for n in range(3)]


def test_what_a_system_leaves_in_a_dicom_folder_is_no_change(tmp_path: Path) -> None:
    series = save_series(
        tmp_path / "series", IMAGE, ImagePositionPatient=lambda k: [0, 0, k], PixelSpacing=[1, 1], SliceThickness=1
    )
    words = table(tmp_path, ["series"] * 3)
    manifest = prepared(words)
    for name in (".DS_Store", "Thumbs.db", "._1_000.dcm", "DICOMDIR"):
        (series / name).write_bytes(b"left by a system" * 30)
    assert changes(words, manifest) == []
    (series / "1_003.dcm").write_bytes((series / "1_002.dcm").read_bytes())
    assert changes(words, manifest) == ["the files of case 'c0' have changed"]


def test_a_case_that_was_left_out_is_compared_too(tmp_path: Path) -> None:
    for name in ("good.nii", "bad.nii"):
        nib.save(nib.Nifti1Image(IMAGE, np.diag([-1, -1, 1, 1])), tmp_path / name)
    whole = (tmp_path / "bad.nii").read_bytes()
    (tmp_path / "bad.nii").write_bytes(whole[:-50])
    words = table(tmp_path, ["good.nii", "bad.nii", "good.nii"])
    manifest = prepared(words, skip_bad=True)
    assert [out.case for out in manifest.left_out] == ["c1"]
    assert changes(words, manifest) == []
    (tmp_path / "bad.nii").write_bytes(whole)
    assert changes(words, manifest) == ["the files of case 'c1', which was left out, have changed"]

    old = manifest.model_copy(update={"left_out": (manifest.left_out[0].model_copy(update={"origin_hash": None}),)})
    (tmp_path / "records/manifest.json").write_text(manifest_text(old).replace(', "source": null', ""))
    assert load_manifest(tmp_path / "records") == old
    assert changes(words, old) == []  # its manifest does not say what the case was


def test_another_plan_is_a_change_told_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = ["data.source=phantom", "phantom.subjects=3", "phantom.shape=[64, 64, 64]"]
    words = [*phantom, f"data.records={tmp_path / 'records'}"]
    manifest = prepared([*words, "data.memory_gb=1"])
    assert changes([*words, "data.memory_gb=1"], manifest) == []
    assert changes([*words, "data.memory_gb=60"], manifest) == []  # each training plans its patches anew
    monkeypatch.setattr("kseg.records.plan.oversampling", lambda _: 0.25)  # as another version may have it
    (found,) = changes(words, manifest)
    assert found.startswith("kseg plans another foreground_oversampling now: 0.25, was ")
    with pytest.raises(InputError, match=r"was prepared otherwise \(kseg plans another foreground_oversampling"):
        prepare.main(words)


def test_an_assumed_spacing_is_told_once_and_decides_how_cases_are_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leg.mha").write_bytes(f"{META.format('')}LOCAL\n".encode() + IMAGE.tobytes("F"))
    words = table(tmp_path, ["leg.mha"] * 3)
    with pytest.raises(InputError, match="3 of 3 cases are bad"):
        prepare.main(words)
    assert "leg.mha' does not state the distance between its voxels along i, j and k" in capsys.readouterr().err
    assuming = [*words, "data.assume_spacing_mm=[1, 1, 1]"]
    prepare.main(assuming)
    said = capsys.readouterr().err
    assert said.count("data.assume_spacing_mm gives what the file does not state") == 1
    assert "note: c0, c1, c2: data.assume_spacing_mm" in said
    assert load_manifest(tmp_path / "records").cases[0].spacing_mm == (1, 1, 1)
    prepare.main(assuming)
    with pytest.raises(InputError, match="the recipe, or kseg, prepares cases in another way now"):
        prepare.main([*words, "data.assume_spacing_mm=[1, 1, 2]"])


def test_a_case_whose_labels_are_corrected_keeps_the_hash_of_its_image(tmp_path: Path) -> None:
    for number in range(3):
        nib.save(nib.Nifti1Image(IMAGE + number, np.diag([-1, -1, 1, 1])), tmp_path / f"{number}.nii")
    words = table(tmp_path, [f"{number}.nii" for number in range(3)])
    before = prepared(words).cases
    assert len({case.image_hash for case in before}) == 3
    labels = np.asarray(nib.load(tmp_path / "labels.nii").dataobj).copy()
    labels[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(labels, np.diag([-1, -1, 1, 1])), tmp_path / "labels.nii")
    prepare.main(words)
    after = load_manifest(tmp_path / "records").cases
    assert [case.image_hash for case in after] == [case.image_hash for case in before]
    assert not {case.origin_hash for case in after} & {case.origin_hash for case in before}


def test_a_dataset_of_an_earlier_version_learns_the_hashes_of_images_where_it_is_brought_up_to_date(
    tmp_path: Path,
) -> None:
    for number in range(3):
        nib.save(nib.Nifti1Image(IMAGE + number, np.diag([-1, -1, 1, 1])), tmp_path / f"{number}.nii")
    words = table(tmp_path, [f"{number}.nii" for number in range(3)])
    hashes = [case.image_hash for case in prepared(words).cases]
    document = json.loads((tmp_path / "records/manifest.json").read_text())
    del document["other_labels"]
    for case in document["cases"]:
        del case["image"]
    (tmp_path / "records/manifest.json").write_text(json.dumps(document))
    assert {case.image_hash for case in load_manifest(tmp_path / "records").cases} == {None}
    nib.save(nib.Nifti1Image(IMAGE + 9, np.diag([-1, -1, 1, 1])), tmp_path / "2.nii")
    prepare.main(words)
    after = [case.image_hash for case in load_manifest(tmp_path / "records").cases]
    assert after[:2] == hashes[:2]
    assert after[2] not in {None, hashes[2]}


def test_a_dataset_that_was_read_in_another_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nib.save(nib.Nifti1Image(IMAGE, np.diag([-1, -1, 1, 1])), tmp_path / "leg.nii")
    words = table(tmp_path, ["leg.nii"] * 3)
    monkeypatch.setattr("kseg.records.write.READING", 1)
    manifest = prepared(words)
    assert changes(words, manifest) == []
    monkeypatch.undo()
    assert changes(words, manifest) == ["the recipe, or kseg, prepares cases in another way now"]
