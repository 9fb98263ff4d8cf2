"""What a user names to be segmented, and which files are one scan: channels in their order, nothing lost or doubled."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.open import open_header
from kseg.volumes.prediction_inputs import find_inputs
from kseg.volumes.prediction_outputs import plan_outputs

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
    """The name that stands for each scan, and its files in order."""
    found = find_inputs(paths, number, names)
    return {
        scan.path.relative_to(folder).as_posix(): [file.relative_to(folder).as_posix() for file in scan.channels]
        for scan in found
    }


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
def test_channels_that_are_missing_doubled_or_too_many_are_refused(files, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        scans(tmp_path, volumes(tmp_path, *files))
    assert "\n" not in str(caught.value)


def test_channels_without_names_go_by_number_alone(tmp_path):
    files = volumes(tmp_path, "leg_t1.nii", "leg_t2.nii")
    assert scans(tmp_path, files, 2, ()) == {"leg_t1.nii": ["leg_t1.nii"], "leg_t2.nii": ["leg_t2.nii"]}
    assert scans(tmp_path, files, 2, ("mri", "MRI")) == scans(tmp_path, files, 2, ())


def test_what_is_no_scan_in_a_folder_is_passed_over_and_said(tmp_path, capsys):
    volumes(tmp_path, "a.nii", "b.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(tmp_path / "c.mhd"))
    touch(tmp_path, "notes.txt", "more/x.nii", ".DS_Store")
    assert list(scans(tmp_path, [tmp_path], 1, ())) == ["a.nii", "b.nii.gz", "c.mhd"]
    assert f"passed over in '{tmp_path}', as no scans: more/, notes.txt\n" == capsys.readouterr().err


def test_series_beside_volumes_are_passed_over_and_not_called_no_scans(tmp_path, capsys):
    volumes(tmp_path, "a.nii")
    touch(tmp_path, "notes.txt")
    touch(tmp_path, "series 1/IM1", "series 2/IM1", content=DICOM)
    assert list(scans(tmp_path, [tmp_path], 1, ())) == ["a.nii"]
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("as no scans: notes.txt")
    assert said[1].endswith("as they lie beside scans: series 1/, series 2/; name DICOM folders one by one")
    assert len(said) == 2


def test_volumes_and_a_series_in_one_folder_are_all_segmented(tmp_path, capsys):
    (folder := tmp_path / "p").mkdir()
    volumes(folder, "a.nii")
    touch(folder, "IM1", "IM2", content=DICOM)
    assert scans(tmp_path, [folder], 1, ()) == {"p/a.nii": ["p/a.nii"], "p": ["p"]}
    assert capsys.readouterr().err == ""


def test_a_cd_is_a_series_for_each_patient_whatever_lies_beside(tmp_path, capsys):
    touch(tmp_path, "a/1.dcm", "a/2.dcm", "b/1", "DICOMDIR", content=DICOM)
    touch(tmp_path, "README.txt", "viewer/start.exe")
    assert list(scans(tmp_path, [tmp_path], 1, ())) == ["a", "b"]
    assert "as no scans: README.txt, viewer/" in capsys.readouterr().err


def test_a_folder_without_scans_is_told_with_what_it_holds(tmp_path):
    with pytest.raises(InputError, match=r"holds no scan \(it is empty\)"):
        find_inputs([tmp_path], 1)
    touch(tmp_path, *(f"page{number}.pdf" for number in range(7)))
    with pytest.raises(InputError, match=r"holds no scan \(page0.pdf, .*page4.pdf and 2 more\): name files that end"):
        find_inputs([tmp_path], 1)


def test_a_scan_that_got_lost_is_not_passed_over(tmp_path):
    volumes(tmp_path, "a.nii")
    (tmp_path / "b.nii.gz").symlink_to("not-fetched.nii.gz")
    assert list(scans(tmp_path, [tmp_path], 1, ())) == ["a.nii", "b.nii.gz"]


def test_a_scan_that_is_named_twice_is_one(tmp_path):
    (one,) = volumes(tmp_path, "p/a.nii")
    (tmp_path / "p" / "b.nii").symlink_to("a.nii")  # another name, and so another mask
    named = [one, tmp_path / "p", tmp_path / "p" / ".." / "p" / "a.nii"]
    assert [scan.path.name for scan in find_inputs(named, 1)] == ["a.nii", "b.nii"]


@pytest.mark.parametrize("name", ["leg.nii.gz", "leg.nii", "leg.mha", "leg.nrrd", "leg.dcm"])
def test_nobody_waits_for_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    (scan,) = find_inputs([tmp_path / name], 1)
    plan_outputs([scan], tmp_path / "masks", force=False)
    with pytest.raises(InputError, match=rf"{name}' is neither a file nor a folder, but a pipe or a device"):
        open_header(tmp_path / name)
