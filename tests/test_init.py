"""`kseg.init`: a folder as people have it becomes a list and a recipe that `kseg.prepare` takes."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series, voxels

from kseg import init, prepare
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.manifest import load_manifest
from kseg.volumes.read import read_volume

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def volume(path: Path, values: tuple[int, ...] = ()) -> None:
    """Write an image of noise, or a label map of these values."""
    rng = np.random.default_rng(len(str(path)))
    array = rng.integers(0, 200, (12, 10, 8)).astype(np.uint8)
    if values:
        array = np.zeros((12, 10, 8), np.uint8)
        for place, value in enumerate(values):
            array[3 * place : 3 * place + 2, 2:8, 2:6] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("scans").rglob("*") if path.is_file()}


def legs(subjects: int = 4) -> None:
    for subject in range(3, 3 + subjects):
        volume(Path(f"scans/{subject}/x1.mha"))
        volume(Path(f"scans/{subject}/masksX1.mha"), (100, 150))


def test_a_folder_as_it_is_can_be_prepared_by_the_command_that_is_named(capsys: pytest.CaptureFixture) -> None:
    legs()
    volume(Path("scans/9/x1.mha"))
    before = tree()
    init.main(["scans"])
    said = capsys.readouterr()
    assert said.out == "scans.toml: give its labels their names\nnext: python -m kseg.prepare scans.toml\n"
    assert "4 cases of 4 subjects" in said.err
    assert "subjects: 2 train, 1 val, 1 test" in said.err
    assert "left out: 9/x1.mha has no label map" in said.err
    assert "100 in 4 cases" in said.err
    assert "another subject" not in said.err
    assert len(Path("scans.toml").read_text(encoding="utf-8").splitlines()) <= 13
    recipe = load_recipe(Path("scans.toml"))
    assert (recipe.name, recipe.data.records) == ("scans", "tfrecords/scans")
    assert recipe.data.labels == {"background": 0, "label_100": 100, "label_150": 150}
    prepare.main(["scans.toml"])
    manifest = load_manifest(recipe.records_folder)
    assert sorted(case.subject for case in manifest.cases) == ["3", "4", "5", "6"]
    assert tree() == before


@pytest.mark.parametrize(("stated", "channel"), [("CT", "image_ct"), ("US", "image_us"), ("one is MR", "image")])
def test_a_column_of_dicom_is_named_after_their_modality(
    stated: str, channel: str, capsys: pytest.CaptureFixture
) -> None:
    for subject in range(4):
        modality = stated if len(stated) == 2 else "CT" if subject else "MR"
        folder = save_series(Path(f"scans/{subject}/x1"), voxels(), series=str(subject + 1), Modality=modality)
        image = read_volume(folder)
        labels = np.zeros(image.shape, np.uint8)
        labels[2:4, 2:4, 2:4] = 1
        nib.save(nib.Nifti1Image(labels, image.affine), f"scans/{subject}/masksX1.nii.gz")
    init.main(["scans"])
    assert ("the column image_" in " ".join(capsys.readouterr().err.split())) == (channel != "image")
    assert Path("scans.csv").read_text(encoding="utf-8").startswith(f"case,subject,split,{channel},label\n")
    prepare.main(["scans.toml"])
    manifest = load_manifest(Path("tfrecords/scans"))
    assert manifest.channels == (channel,)
    assert manifest.plan.normalisation == ({"image_ct": "ct", "image_us": "log"}.get(channel, "zscore"),)


def test_nothing_is_overwritten() -> None:
    legs()
    Path("scans.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"'scans\.csv' is there already"):
        init.main(["scans"])
    init.main(["scans", "--name", "legs"])
    assert Path("scans.csv").read_text(encoding="utf-8") == "mine"
    assert load_recipe(Path("legs.toml")).data.source == "legs.csv"
    with pytest.raises(InputError, match=r"--name 'a/b' must be letters, digits"):
        init.main(["scans", "--name", "a/b"])


def test_a_list_of_cases_is_taken_as_it_is(capsys: pytest.CaptureFixture) -> None:
    legs()
    rows = [f"leg{n},{n},,{n}/x1.mha,{n}/masksX1.mha" for n in range(3, 47)]
    Path("scans/cases.csv").write_text("\n".join(["case,subject,split,image,label", *rows]) + "\n", encoding="utf-8")
    for subject in range(7, 45):
        shutil.copytree("scans/3", f"scans/{subject}")
    init.main(["scans"])
    said = capsys.readouterr().err
    assert "'scans/cases.csv' lists the cases" in said
    assert "44 cases of 44 subjects" in said
    assert "files are missing of 2 cases: leg45, leg46" in said
    assert not Path("scans.csv").exists()
    assert load_recipe(Path("scans.toml")).data.source == "scans/cases.csv"


def test_links_to_folders_are_followed_once_and_names_must_be_unicode(capsys: pytest.CaptureFixture) -> None:
    legs(3)
    Path("store").mkdir()
    shutil.move("scans/3", "store/3")
    Path("scans/3").symlink_to(Path("store/3").resolve())
    Path("scans/4/all").symlink_to(Path("scans").resolve())
    init.main(["scans"])
    assert "3 cases of 3 subjects" in capsys.readouterr().err
    volume(Path("bad/a.mha"))
    shutil.move("bad/a.mha", b"bad/a\xe9.mha")
    with pytest.raises(InputError, match=r"'a\\udce9\.mha' is a name that is not UTF-8"):
        init.main(["bad"])


def test_too_few_subjects_are_told_of(capsys: pytest.CaptureFixture) -> None:
    legs(1)
    init.main(["scans"])
    said = capsys.readouterr()
    assert "note: no subject is left for training: there is one, and a training needs another" in said.err
    assert said.out == "scans.toml: give its labels their names\n"  # no command that would refuse it
    legs(2)
    init.main(["scans", "--name", "two"])
    assert "note: no subject is left for training: there are two, one to validate and one" in capsys.readouterr().err


def test_a_value_that_one_label_map_alone_holds_is_told_of(capsys: pytest.CaptureFixture) -> None:
    legs(6)
    volume(Path("scans/5/masksX1.mha"), (100, 150, 7))
    init.main(["scans"])
    told = [line for line in capsys.readouterr().err.splitlines() if "label maps only" in line]
    remedy = "if that is no structure, correct that label map, and take its line out of the recipe"
    assert told == [f"note: of 6 label maps only 'scans/5/masksX1.mha' holds 7: {remedy}"]
    volume(Path("scans/6/masksX1.mha"), (100, 150, 8, 9))
    init.main(["scans", "--name", "more"])
    told = [line for line in capsys.readouterr().err.splitlines() if "label maps only" in line]
    assert len(told) == 2  # one a file
    assert "only 'scans/6/masksX1.mha' holds 8, 9: if these are no structure" in told[1]
    assert load_recipe(Path("scans.toml")).data.labels == {
        "background": 0,
        "label_7": 7,
        "label_100": 100,
        "label_150": 150,
    }


def test_no_command_is_named_that_will_refuse(capsys: pytest.CaptureFixture) -> None:
    legs(4)
    Path("scans/6/x1.mha").unlink()
    Path("scans/6/x1.mha").symlink_to(Path("scans/3/x1.mha").resolve())
    init.main(["scans"])
    said = capsys.readouterr()
    assert "note: the scan of case '6_x1', subject '6', is that of case '3_x1', subject '3'" in said.err
    assert "next:" not in said.out
    for subject in range(3, 7):
        volume(Path(f"empty/{subject}/x{subject}.mha"))
        volume(Path(f"empty/{subject}/masksX{subject}.mha"), (0,))
    init.main(["empty"])
    said = capsys.readouterr()
    assert "note: a label map holds 2 to 65535 classes" in said.err
    assert "next:" not in said.out


def test_a_list_keeps_its_name(capsys: pytest.CaptureFixture) -> None:
    legs()
    init.main(["scans"])
    Path("scans.toml").unlink()
    before = Path("scans.csv").read_bytes()
    init.main(["scans.csv"])
    assert "next: python -m kseg.prepare scans.toml" in capsys.readouterr().out
    assert load_recipe(Path("scans.toml")).data.source == "scans.csv"
    assert Path("scans.csv").read_bytes() == before


def test_what_is_no_label_map_is_told_of(capsys: pytest.CaptureFixture) -> None:
    legs()
    shutil.copy("scans/3/x1.mha", "scans/3/masksX1.mha")
    rng = np.random.default_rng(0)
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((12, 10, 8))), "scans/4/masksX1.mha")
    init.main(["scans"])
    assert "'scans/4/masksX1.mha' is no label map" in capsys.readouterr().err


def test_what_cannot_be_read_is_left_out_and_said(capsys: pytest.CaptureFixture) -> None:
    legs()
    Path("scans/3/lost.dcm").write_bytes(b"a page of the web")
    Path("scans/4/notes.txt").write_text("x", encoding="utf-8")
    init.main(["scans"])
    said = capsys.readouterr().err
    assert "left out: 'scans/3/lost.dcm' is no DICOM file, though it is named as one: fetch it anew." in said
    assert "notes.txt" not in said
    assert "4 cases of 4 subjects" in said


@pytest.mark.parametrize(("folder", "message"), [("gone", "does not exist"), ("empty", "no scan with a label map")])
def test_a_folder_without_scans(folder: str, message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(InputError, match=message):
        init.main([folder])
    assert not list(Path().glob("*.toml"))


def test_the_real_scans() -> None:
    if not SHARED.is_dir():
        pytest.skip("the real scans are not here")
    init.main([str(SHARED / "formats")])
    lines = Path("formats.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["case", "brain1", "ct"]
    init.main([str(SHARED / "msd_hippocampus")])
    assert load_recipe(Path("msd_hippocampus.toml")).data.source == str(SHARED / "msd_hippocampus")
    assert not Path("msd_hippocampus.csv").exists()


def test_preparing_names_the_command_that_trains(capsys: pytest.CaptureFixture) -> None:
    legs()
    init.main(["scans"])
    prepare.main(["scans.toml", "data.val_fraction=0.25"])
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "next: python -m kseg.train scans.toml data.val_fraction=0.25"
    assert said[-2].startswith(
        "note: to score every subject in its fold instead of one by a test: python -m kseg.prepare scans.toml "
        "data.val_fraction=0.25 data.test_fraction=0 --force, then python -m kseg.train scans.toml "
        "data.val_fraction=0.25 data.test_fraction=0 --folds 4, "
    )
    prepare.main(["scans.csv", "data.labels={background = 0, a = 100, b = 150}", "name=other", "data.records=there"])
    last = capsys.readouterr().err.splitlines()[-1]
    words = "'data.source=\"scans.csv\"' 'data.labels={background = 0, a = 100, b = 150}' name=other data.records=there"
    assert last == f"next: python -m kseg.train {words}"
