"""What a user names to be segmented, and which files are one scan: channels in their order, nothing lost or doubled."""

import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.open import open_header
from kseg.volumes.prediction_inputs import find_inputs
from kseg.volumes.prediction_outputs import plan_outputs
from kseg.volumes.read import read_volume
from kseg.volumes.write import write_label_map

T1_T2 = ("image_t1", "image_t2")
DICOM = bytes(128) + b"DICM"


def volumes(folder: Path, *names: str, channels: int = 1) -> list[Path]:
    """Volumes of so many channels, one voxel each but for these."""
    for name in names:
        array = np.zeros((2, 2, 2, channels) if channels > 1 else (2, 2, 2), np.int16)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / name)
    return [folder / name for name in names]


def touch(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def scans(folder: Path, paths: list[Path], number: int = 2, names: tuple[str, ...] = T1_T2) -> dict[str, list[str]]:
    """The name that stands for each scan, and its files in order; nothing is refused."""
    found = find_inputs(paths, number, names)
    assert not found.refused
    return {
        scan.path.relative_to(folder).as_posix(): [file.relative_to(folder).as_posix() for file in scan.channels]
        for scan in found.scans
    }


def masks(paths: list[Path], number: int = 1, names: tuple[str, ...] = ()) -> list[str]:
    """Where the masks of the scans go."""
    outputs, refused = plan_outputs(find_inputs(paths, number, names).scans, Path("out"), force=False)
    assert not refused
    return [output.path.relative_to("out").as_posix() for output in outputs]


@pytest.mark.parametrize(
    ("files", "scan"),
    [
        (["leg_0001.nii", "leg_0000.nii"], {"leg.nii": ["leg_0000.nii", "leg_0001.nii"]}),
        (["leg_t2.nii.gz", "leg_t1.nii.gz"], {"leg.nii.gz": ["leg_t1.nii.gz", "leg_t2.nii.gz"]}),
        (["leg-T2.nii", "leg-T1.nii"], {"leg.nii": ["leg-T1.nii", "leg-T2.nii"]}),
        (["a/l_0000.nii", "b/k_t2.nii", "a/l_0001.nii", "b/k_t1.nii"],
         {"a/l.nii": ["a/l_0000.nii", "a/l_0001.nii"], "b/k.nii": ["b/k_t1.nii", "b/k_t2.nii"]}),
    ],
)  # fmt: skip
def test_files_of_one_channel_are_put_together_in_the_order_of_the_channels(files, scan, tmp_path):
    assert scans(tmp_path, volumes(tmp_path, *files)) == scan


def test_the_order_is_that_of_the_run_not_of_the_alphabet(tmp_path):
    files = volumes(tmp_path, "leg_ct.nii", "leg_pet.nii")
    assert scans(tmp_path, files, 2, ("PET", "CT")) == {"leg.nii": ["leg_pet.nii", "leg_ct.nii"]}


def test_a_name_that_ends_another_is_told_apart(tmp_path):
    files = volumes(tmp_path, "leg_t1.nii", "leg_ce_t1.nii")
    assert scans(tmp_path, files, 2, ("ce_t1", "t1")) == {"leg.nii": ["leg_ce_t1.nii", "leg_t1.nii"]}


def test_a_file_that_holds_all_channels_is_a_scan_whatever_its_name(tmp_path):
    files = volumes(tmp_path, "sub_0000.nii", "sub_0001.nii", "sub_t1.nii", "plain.nii", channels=2)
    assert scans(tmp_path, files) == {file.name: [file.name] for file in files}


def test_of_one_channel_every_file_is_a_scan_under_its_own_name(tmp_path):
    files = volumes(tmp_path, "sub_0000.nii", "sub_0001.nii", "leg_0003.nii")
    assert scans(tmp_path, files, 1, ("MRI",)) == {file.name: [file.name] for file in files}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["leg_0001.nii", "leg_0002.nii"], r"has leg_0001.nii, leg_0002.nii, but no leg_0000.nii: name its files "
         "leg_0000.nii, leg_0001.nii in the order t1, t2, or leg_t1.nii, leg_t2.nii"),
        (["leg_0000.nii"], "but no leg_0001.nii"),
        (["leg_0000.nii", "leg_0001.nii", "leg_0002.nii"], "leg_0002.nii, more than 2 channels"),
        (["a/leg_0000.nii", "b/leg_0001.nii"], "a/leg.nii' has leg_0000.nii, but no leg_0001.nii"),
        (["leg_t2.nii"], "but no leg_t1.nii"),
        (["leg_t1.nii", "leg_T1.nii", "leg_t2.nii"], "leg_t1.nii' and '.*leg_T1.nii' are one channel of one scan"),
    ],
)  # fmt: skip
def test_channels_that_are_missing_doubled_or_too_many_are_refused_and_stop_no_other(files, message, tmp_path):
    whole = volumes(tmp_path, "arm_0000.nii", "arm_0001.nii")
    found = find_inputs([*volumes(tmp_path, *files), *whole], 2, T1_T2)
    assert [scan.channels for scan in found.scans] == [tuple(whole)]
    assert found.refused
    for reason in found.refused.values():
        assert "\n" not in reason
    assert any(re.search(message, reason) for reason in found.refused.values())


def test_the_other_files_of_a_scan_of_several_channels_are_found(tmp_path):
    files = volumes(tmp_path, "leg_t1.nii", "leg_t2.nii", "arm_t1.nii", "arm_t2.nii", "leg_0000.nii", "leg_0001.nii")
    assert scans(tmp_path, [files[1]]) == {"leg.nii": ["leg_t1.nii", "leg_t2.nii"]}
    assert scans(tmp_path, [files[4]]) == {"leg.nii": ["leg_0000.nii", "leg_0001.nii"]}
    assert masks([files[0], files[3]], 2, T1_T2) == ["leg.nii", "arm.nii"]
    assert scans(tmp_path, [files[0]], 1, ("t1",)) == {"leg_t1.nii": ["leg_t1.nii"]}


def test_channels_without_names_go_by_number_alone(tmp_path):
    files = volumes(tmp_path, "leg_t1.nii", "leg_t2.nii")
    assert scans(tmp_path, files, 2, ()) == {"leg_t1.nii": ["leg_t1.nii"], "leg_t2.nii": ["leg_t2.nii"]}
    assert scans(tmp_path, files, 2, ("mri", "MRI")) == scans(tmp_path, files, 2, ())


def test_a_tree_is_walked_and_what_is_no_scan_is_said(tmp_path, capsys):
    volumes(tmp_path, "a.nii", "b.nii.gz", "3/x1.nii", "4/deeper/x1.nii")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(tmp_path / "c.mhd"))
    touch(tmp_path, "4/1.dcm", "4/2.dcm", "5/IM1", "DICOMDIR", content=DICOM)
    touch(tmp_path, "notes.txt", "more/list.xls", ".DS_Store", "Thumbs.db")
    expected = ["a.nii", "b.nii.gz", "c.mhd", "3/x1.nii", "4", "4/deeper/x1.nii", "5"]
    assert list(scans(tmp_path, [tmp_path], 1, ())) == expected
    assert f"passed over in '{tmp_path}', as no scans: notes.txt, more/list.xls\n" == capsys.readouterr().err
    wanted = ["a.nii", "b.nii.gz", "c.mhd", "3/x1.nii", "4.nii.gz", "4/deeper/x1.nii", "5.nii.gz"]
    assert masks([tmp_path]) == wanted
    assert masks([tmp_path / "4"]) == ["4.nii.gz", "deeper/x1.nii"]
    assert [scan.found for scan in find_inputs([tmp_path / "4"], 1).scans] == [False, True]


def test_volumes_and_a_series_in_one_folder_are_all_segmented(tmp_path, capsys):
    (folder := tmp_path / "p").mkdir()
    volumes(folder, "a.nii")
    touch(folder, "IM1", "IM2", content=DICOM)
    assert set(scans(tmp_path, [folder], 1, ())) == {"p/a.nii", "p"}
    assert capsys.readouterr().err == ""


def test_masks_of_one_name_lie_in_folders_as_their_scans_do(tmp_path):
    files = volumes(tmp_path, "LEG/3/x1.nii", "LEG/4/x1.nii", "LEG/4/x2.nii", "ARM/3/x1.nii")
    assert masks(files[:2]) == ["3/x1.nii", "4/x1.nii"]
    assert masks(files[:3]) == ["3/x1.nii", "4/x1.nii", "4/x2.nii"]
    assert masks(files[1:3]) == ["x1.nii", "x2.nii"]
    assert masks([tmp_path / "LEG", tmp_path / "ARM"]) == [
        "LEG/3/x1.nii",
        "LEG/4/x1.nii",
        "LEG/4/x2.nii",
        "ARM/3/x1.nii",
    ]
    assert masks([tmp_path / "LEG" / "3", files[2]]) == ["x1.nii", "x2.nii"]


def test_masks_of_one_name_in_one_folder_are_refused_and_stop_no_other(tmp_path):
    found = find_inputs(volumes(tmp_path, "leg.nii", "LEG.nii", "arm.nii"), 1)
    outputs, refused = plan_outputs(found.scans, tmp_path / "out", force=False)
    assert [output.case for output in outputs] == ["arm"]
    assert len(refused) == 2
    assert all("leg.nii' and '" in reason.replace("LEG", "leg") for _, reason in refused)
    assert all("would be written to one name" in reason for _, reason in refused)


def label_map(path: Path, dtype: type = np.uint8) -> Path:
    array = np.zeros((8, 9, 10), dtype)
    array[2:5, 3:6, 4:7] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def test_label_maps_in_a_tree_are_skipped_unless_they_are_images_or_named(tmp_path):
    volumes(tmp_path, "3/x1.nii", "images/leg.nii")
    labels = [label_map(tmp_path / name) for name in ("3/masksX1.nii", "labels/leg.nii.gz", "4/x_seg.nii")]
    noise = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "4" / "manual.nii")
    write_label_map(tmp_path / "4" / "x.nii", np.ones((8, 9, 10), np.uint8), read_volume(labels[0]).stored)
    found = find_inputs([tmp_path], 1)
    names = [scan.path.relative_to(tmp_path).as_posix() for scan in found.scans]
    assert names == ["3/x1.nii", "4/manual.nii", "images/leg.nii"]
    assert found.skipped == dict.fromkeys(labels, "is a label map, by its name") | {
        tmp_path / "4" / "x.nii": "is a mask that kseg wrote"
    }
    assert [(scan.path, scan.found) for scan in find_inputs([labels[0]], 1).scans] == [(labels[0], False)]
    assert len(find_inputs([tmp_path / "labels"], 1).scans) == 1  # a word that all paths share tells nothing


def test_a_folder_without_scans_is_told_with_what_it_holds(tmp_path):
    def told() -> str:
        found = find_inputs([tmp_path], 1)
        assert not found.scans
        return found.refused[tmp_path]

    assert "holds no scan (it is empty)" in told()
    touch(tmp_path, *(f"page{number}.pdf" for number in range(7)))
    assert re.search(r"holds no scan \(page0.pdf, .*page4.pdf and 2 more\): name files that end", told())
    label_map(tmp_path / "3" / "mask.nii")
    label_map(tmp_path / "4" / "mask.nii")
    assert "holds no scan (its 2 volumes are label maps)" in told()


def test_what_cannot_be_read_in_a_tree_is_refused_and_stops_no_other(tmp_path):
    volumes(tmp_path, "a.nii")
    touch(tmp_path, "b/IM1.dcm")
    (tmp_path / "c").symlink_to("c")
    found = find_inputs([tmp_path], 1)
    assert [scan.path.name for scan in found.scans] == ["a.nii"]
    assert "is no DICOM file, though it is named as one" in found.refused[tmp_path / "b" / "IM1.dcm"]


def test_a_scan_that_got_lost_is_not_passed_over(tmp_path):
    volumes(tmp_path, "a.nii")
    (tmp_path / "b.nii.gz").symlink_to("not-fetched.nii.gz")
    assert list(scans(tmp_path, [tmp_path], 1, ())) == ["a.nii", "b.nii.gz"]
    _, refused = plan_outputs(find_inputs([tmp_path], 1).scans, tmp_path / "out", force=False)
    assert [reason for _, reason in refused] == [f"'{tmp_path / 'b.nii.gz'}' does not exist: correct the path."]


@pytest.mark.parametrize("columns", ["case,subject,split,image,label", "case,image"])
def test_a_list_of_cases_stands_for_their_images(columns, tmp_path):
    volumes(tmp_path, "3/x1.nii", "4/x1.nii.gz")
    fields = {"subject": "s", "label": "none.nii"}
    rows = [
        {"case": "a", "image": "3/x1.nii", "split": "test", **fields},
        {"case": "b", "image": "4/x1.nii.gz", **fields},
    ]
    lines = [",".join(row.get(column, "") for column in columns.split(",")) for row in rows]
    (tmp_path / "cases.csv").write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    assert scans(tmp_path, [tmp_path / "cases.csv"], 1, ()) == {
        "3/x1.nii": ["3/x1.nii"],
        "4/x1.nii.gz": ["4/x1.nii.gz"],
    }
    assert masks([tmp_path / "cases.csv"]) == ["a.nii", "b.nii.gz"]


def test_the_channels_of_a_list_are_put_into_the_order_of_the_model(tmp_path, capsys):
    volumes(tmp_path, "1.nii", "2.nii")
    (tmp_path / "cases.csv").write_text("case,image_t2,image_t1\na,2.nii,1.nii\n", encoding="utf-8")
    assert scans(tmp_path, [tmp_path / "cases.csv"]) == {"1.nii": ["1.nii", "2.nii"]}
    assert scans(tmp_path, [tmp_path / "cases.csv"], 2, ("CT", "PET")) == {"2.nii": ["2.nii", "1.nii"]}
    assert "calls its channels t2, t1, the model ct, pet: by their order" in capsys.readouterr().err
    found = find_inputs([tmp_path / "cases.csv"], 3, ("a", "b", "c"))
    assert list(found.refused.values()) == ["case 'a' has 2 files of images, the model takes 3 channels (a, b, c)"]


def test_a_case_without_an_image_stops_no_other(tmp_path):
    volumes(tmp_path, "1.nii")
    lines = ["case,image,label", "a,,a.nii", "b,1.nii,", "c,,c.nii"]
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = find_inputs([tmp_path / "cases.csv"], 1)
    assert [scan.name for scan in found.scans] == ["b"]
    assert list(found.refused) == [Path("a"), Path("c")]
    assert "line 2 must fill `image`: case 'a' has none" in found.refused[Path("a")]


def test_a_list_that_is_not_understood_stops_no_other(tmp_path):
    (scan,) = volumes(tmp_path, "a.nii")
    touch(tmp_path, "T1w.json", content=b"{}")
    touch(tmp_path, "table.csv", content=b"subject,age\n")
    found = find_inputs([scan, tmp_path / "T1w.json", tmp_path / "table.csv"], 1)
    assert len(found.scans) == 1
    assert list(found.refused) == [tmp_path / "T1w.json", tmp_path / "table.csv"]


def test_a_scan_that_is_named_twice_is_one(tmp_path):
    (one,) = volumes(tmp_path, "p/a.nii")
    (tmp_path / "p" / "b.nii").symlink_to("a.nii")  # another name, and so another mask
    named = [one, tmp_path / "p", tmp_path / "p" / ".." / "p" / "a.nii"]
    assert [scan.path.name for scan in find_inputs(named, 1).scans] == ["a.nii", "b.nii"]


@pytest.mark.parametrize("name", ["leg.nii.gz", "leg.nii", "leg.mha", "leg.nrrd", "leg.dcm"])
def test_nobody_waits_for_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    (scan,) = find_inputs([tmp_path / name], 1).scans
    plan_outputs([scan], tmp_path / "masks", force=False)
    with pytest.raises(InputError, match=rf"{name}' is neither a file nor a folder, but a pipe or a device"):
        open_header(tmp_path / name)
