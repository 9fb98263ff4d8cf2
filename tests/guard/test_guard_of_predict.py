"""kseg.predict replaces neither scans nor masks that are somebody's, and knows before the work begins."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series
from refusal import VALUE, link, refused, scan
from threshold import Threshold

from kseg import predict
from kseg.console.errors import InputError
from kseg.volumes.mask_hash import FIELD, is_as_written


def out_with(name: str, put_there: Callable[[Path, Path], None]) -> str:
    Path("out").mkdir()
    put_there(Path("out", name), Path("scans", name).resolve())
    return "out"


def by_mask(name: str) -> str:
    """A scan that is a mask of kseg's, which `--force` could replace if nobody read it."""
    predict.main(["stub", f"scans/{name}", "--out", "masks"])
    return f"masks/{name}"


IS_THE_SCAN = {
    "its folder": lambda: ("scans/leg.nii.gz", "scans"),
    "its folder, which is given": lambda: ("scans", "scans"),
    "its folder by another path": lambda: ("scans/leg.nii.gz", "scans/../scans/."),
    "a link to its folder": lambda: ("scans/leg.nii.gz", link("alias", "scans")),
    "its folder, the scan given by a link": lambda: (link("in/leg.nii.gz", "scans/leg.nii.gz"), "scans"),
    "a folder with a link to it": lambda: ("scans/leg.nii.gz", out_with("leg.nii.gz", Path.symlink_to)),
    "a folder with a hard link": lambda: ("scans/leg.nii.gz", out_with("leg.nii.gz", Path.hardlink_to)),
    "its folder, and it is a mask": lambda: (by_mask("leg.nii.gz"), "masks"),
    "its folder, and it has its voxels apart": lambda: (str(scan("apart/leg.mhd")), "apart"),
}  # fmt: skip


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("case", IS_THE_SCAN)
def test_no_scan_is_replaced_by_its_mask(case: str, force: list[str], source: Threshold, capsys) -> None:
    given, out = IS_THE_SCAN[case]()
    begins = source.begins
    capsys.readouterr()
    said = refused(predict.main, ["stub", given, "--out", out, *force], "failed|choose another --out", capsys)
    assert source.begins == begins
    assert "--force" not in said
    assert "is a scan that is read" in said


def test_the_voxels_of_a_scan_are_its_own(source: Threshold, capsys) -> None:
    """The mask of `other/leg.mhd` would have its voxels in a file that another scan reads."""
    header = scan("apart/leg.mhd")
    Path("apart/leg.raw").rename("apart/leg.zraw")
    header.write_text(header.read_text().replace("leg.raw", "leg.zraw"))
    header.rename("apart/leg.x.mhd")
    scan("other/leg.mhd")
    words = ["stub", "apart/leg.x.mhd", "other/leg.mhd", "--out", "apart", "--force"]
    assert "'apart/leg.zraw' is a scan that is read" in refused(predict.main, words, "2 of 2 inputs failed", capsys)


def test_a_dicom_folder_takes_no_mask(source: Threshold, capsys) -> None:
    words = ["stub", series("series"), "--out", "series", "--force"]
    assert "is the folder of the scan" in refused(predict.main, words, "itself: choose another --out", capsys)
    assert source.begins == 0


# predict: the target is something else


def test_a_mask_that_a_person_drew_or_corrected_is_not_replaced(source: Threshold, capsys) -> None:
    Path("masks").mkdir()
    Path("masks/leg.nii.gz").write_bytes(Path("scans/arm.nii.gz").read_bytes())
    words = ["stub", "scans/leg.nii.gz", "--out", "masks"]
    for force in ([], ["--force"]):
        said = refused(predict.main, [*words, *force], "move it away", capsys)
        assert "'masks/leg.nii.gz' exists already, and is not as kseg wrote it there: move it away" in said
        assert "--force" not in said
    assert source.begins == 0
    Path("masks/leg.nii.gz").unlink()
    predict.main(words)
    assert "pass --force to replace it" in refused(predict.main, words, "exists already", capsys)
    predict.main([*words, "--force"])
    corrected = nib.Nifti1Image(np.full((5, 6, 7), 3, np.uint8), np.eye(4))
    nib.save(corrected, "masks/leg.nii.gz")
    assert "is not as kseg wrote it" in refused(predict.main, [*words, "--force"], "exists already", capsys)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
def test_masks_are_replaced_unless_somebody_changed_them(extension: str, source: Threshold, capsys) -> None:
    name = f"leg{extension}"
    words = ["stub", str(scan(f"in/{name}")), "--out", "masks", "--force"]
    for _ in range(2):
        predict.main(words)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(f"masks/{name}"))
    assert (mask == VALUE).sum() == 1
    assert (mask != 0).sum() == 1
    assert is_as_written(Path("masks", name))
    files = 2 if extension in (".mhd", ".nhdr") else 1
    assert len(list(Path("masks").iterdir())) == files + 2  # masks, and the tables of volumes and measures
    _correct_by_hand(Path("masks", name))
    before = {path: path.read_bytes() for path in Path("masks").iterdir()}
    assert "is not as kseg wrote it" in refused(predict.main, words, "exists already", capsys)
    assert {path: path.read_bytes() for path in Path("masks").iterdir()} == before


def _correct_by_hand(mask: Path) -> None:
    """Change one voxel, as an editor does that keeps what else a header says."""
    if ".nii" in mask.name:
        image = nib.load(mask)
        voxels = np.array(image.dataobj)
        voxels[0, 0, 0] += 1
        nib.save(nib.Nifti1Image(voxels, None, image.header), mask)
        return
    image = sitk.ReadImage(str(mask))
    image[0, 0, 0] += 1
    assert image.HasMetaDataKey(FIELD)
    sitk.WriteImage(image, str(mask), useCompression=True)


def test_one_mask_in_the_way_does_not_stop_the_others(source: Threshold, capsys) -> None:
    predict.main(["stub", "scans/leg.nii.gz", "--out", "masks"])
    with pytest.raises(InputError, match=r"1 of 2 inputs failed: scans/leg\.nii\.gz"):
        predict.main(["stub", "scans", "--out", "masks"])
    assert Path("masks/arm.nii.gz").is_file()
    assert "masks/leg.nii.gz' exists already" in capsys.readouterr().err


def series(path: str) -> str:
    return str(save_series(Path(path), np.arange(64, dtype=np.int16).reshape(8, 8, 1)))


SAME_NAME = {
    "a series and a file": (
        lambda: [str(scan("a/legs.nii.gz")), series("b/legs")], ["a/legs.nii.gz", "b/legs.nii.gz"]),
    "links whose files have other names": (
        lambda: [link("sub-1/T1w.nii.gz", "scans/leg.nii.gz"), link("sub-2/T1w.nii.gz", "scans/arm.nii.gz")],
        ["sub-1/T1w.nii.gz", "sub-2/T1w.nii.gz"]),
    "names that differ in case": (
        lambda: [str(scan("a/leg.nii.gz")), str(scan("b/LEG.nii.gz"))], ["a/leg.nii.gz", "b/LEG.nii.gz"]),
    "voxels of one and a header of the other": (
        lambda: [str(scan("a/leg.nhdr")), str(scan("b/LEG.nhdr"))],
        ["a/leg.nhdr", "a/leg.raw.gz", "b/LEG.nhdr", "b/LEG.raw.gz"]),
    "an umlaut in two spellings": (
        lambda: [str(scan("a/Mu\u0308ller.mha")), str(scan("b/M\u00fcller.mha"))],
        ["a/Mu\u0308ller.mha", "b/M\u00fcller.mha"]),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME_NAME)
def test_two_masks_of_one_name_lie_in_folders_as_their_scans_do(case: str, source: Threshold) -> None:
    scans, expected = SAME_NAME[case]
    predict.main(["stub", *scans(), "--out", "masks"])
    found = [path.relative_to("masks").as_posix() for path in Path("masks").rglob("*") if path.is_file()]
    assert sorted(found) == sorted([*expected, "measures.csv", "volumes.csv"])


SAME_PLACE = {
    "a series and a file": lambda: [str(scan("a/legs.nii.gz")), series("a/legs")],
    "names that differ in case": lambda: [str(scan("a/leg.nii.gz")), str(scan("a/LEG.nii.gz"))],
    "voxels of one and a header of the other": lambda: [str(scan("a/leg.nhdr")), str(scan("a/LEG.nhdr"))],
    "an umlaut in two spellings": lambda: [str(scan("a/Mu\u0308ller.mha")), str(scan("a/M\u00fcller.mha"))],
}  # fmt: skip


@pytest.mark.parametrize("case", SAME_PLACE)
def test_two_masks_of_one_name_in_one_folder_are_refused_before_the_work(case: str, source: Threshold, capsys) -> None:
    scans = SAME_PLACE[case]()
    said = refused(predict.main, ["stub", *scans, "--out", "masks", "--force"], "2 of 2 inputs failed", capsys)
    assert "would be written to one name" in said
    assert all(f"'{path}'" in said for path in scans)
    assert source.begins == 0


def test_two_links_to_one_scan_have_two_masks(source: Threshold) -> None:
    predict.main(
        ["stub", link("in/a.nii.gz", "scans/leg.nii.gz"), link("in/b.nii.gz", "scans/leg.nii.gz"), "--out", "m"]
    )
    assert {path.name for path in Path("m").iterdir()} == {"a.nii.gz", "b.nii.gz", "measures.csv", "volumes.csv"}


NO_FOLDER = {"a file": "tiny.toml", "below a file": "tiny.toml/masks", "where nothing can be written": "/proc/kseg"}


@pytest.mark.parametrize("case", NO_FOLDER)
def test_a_folder_that_takes_no_masks_is_told_before_the_work(case: str, source: Threshold) -> None:
    said = refused(predict.main, ["stub", "scans", "--out", NO_FOLDER[case]], NO_FOLDER[case])
    assert "\n" not in said
    assert source.begins == 0


def test_a_name_that_is_too_long_is_told_before_the_work(source: Threshold, capsys) -> None:
    words = ["stub", series(f"long/{'x' * 253}"), "--out", "masks"]
    said = refused(predict.main, words, "rename", capsys)
    assert "is too long for a file's name" in said
    predict.main(["stub", str(scan(f"long/{'x' * 240}.nii.gz")), "--out", "masks"])


def test_a_disk_that_refuses_one_mask_leaves_the_others_whole(source: Threshold, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sitk, "WriteImage", lambda image, path, useCompression: Path(path).write_bytes(b""))
    with pytest.raises(InputError, match=r"1 of 3 inputs failed: in/leg\.mha"):
        predict.main(["stub", "scans", _made_before("in/leg.mha"), "--out", "masks"])
    assert "kseg.predict: 'masks/leg.mha': Input/output error: check that disk" in capsys.readouterr().err
    assert {path.name for path in Path("masks").iterdir()} == {
        "leg.nii.gz",
        "arm.nii.gz",
        "measures.csv",
        "volumes.csv",
    }


OTHER_TABLES = {
    "other columns": "case,age\nleg,7\n",
    "a column more": "case,class_name,prediction_ml,mask,observer\n",
    "a field less": "case,class_name,prediction_ml,mask\nleg,bright\n",
    "a spreadsheet's": "case;class_name;prediction_ml;mask\n",
}


@pytest.mark.parametrize("case", OTHER_TABLES)
def test_a_table_that_kseg_did_not_write_is_told_before_the_work(case: str, source: Threshold) -> None:
    Path("masks").mkdir()
    Path("masks/volumes.csv").write_text(OTHER_TABLES[case], encoding="utf-8")
    said = refused(predict.main, ["stub", "scans", "--out", "masks", "--force"], "is no table of volumes")
    assert said.endswith("move it away, or choose another --out")
    assert source.begins == 0


def test_a_table_of_measures_that_kseg_did_not_write_is_told_before_the_work(source: Threshold) -> None:
    Path("masks").mkdir()
    Path("masks/measures.csv").write_text("case,observer\nleg,7\n", encoding="utf-8")
    said = refused(predict.main, ["stub", "scans", "--out", "masks", "--force"], "is no table of measures")
    assert said.endswith("move it away, or choose another --out")
    assert source.begins == 0


def _made_before(path: str) -> str:
    """A MetaImage, written without ITK's writer, which the test replaces."""
    from kseg.volumes.slice_writer import SliceWriter

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with SliceWriter(Path(path), (5, 6, 2), np.eye(4)) as file:
        for value in (1, 2):
            file.write(np.full((5, 6), value, np.uint8))
    return path
