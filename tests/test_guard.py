"""No command overwrites what it reads, nor what kseg did not write, and all is known before the work begins.

Here are the commands without TensorFlow, and those of a training that are refused before it starts.
"""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series
from threshold import Threshold

from kseg import phantom, predict, prepare, sweep, train
from kseg.console.errors import InputError
from kseg.runs.run_files import RUN
from kseg.storage.ownership import MARKER, claim
from kseg.volumes.mask_hash import FIELD, is_as_written

TINY = """
name = "leg"
[data]
records = "tfrecords/leg"
[phantom]
subjects = 4
shape = [16, 16, 16]
[patches]
size = [8, 8, 8]
[grid]
seeds = [1]
[grid.axes.norm]
batch = []
"""
PHANTOM = ["--shape", "16", "16", "16", "--out", "made"]
VALUE = 7


@pytest.fixture
def source(monkeypatch) -> Threshold:
    """Its masks are 7 in one corner (`scan`)."""
    threshold = Threshold(100, VALUE)
    monkeypatch.setattr(predict, "_open_predictor", lambda *_: threshold)
    return threshold


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """The dataset of the recipe, prepared."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    prepare.main([str(folder / "tiny.toml"), f"data.records={folder / 'leg'}"])
    return folder / "leg"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, dataset) -> Path:
    """A working folder with two scans and a recipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("leg.nii.gz", "arm.nii.gz"):
        scan(f"scans/{name}")
    Path("tiny.toml").write_text(TINY, encoding="utf-8")
    Path("datasets").symlink_to(dataset.parent)
    return tmp_path


def prepared_already() -> Path:
    return Path(shutil.copytree("datasets/leg", "tfrecords/leg"))


def scan(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(0).integers(1, 99, (5, 6, 7)).astype(np.uint8)
    array[0, 0, 0] = 101
    if path.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array.T), path, ".mhd" not in path)
    return Path(path)


def tree(folder: str = ".") -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(command: Callable[[Sequence[str]], None], words: Sequence[str], match: str, capsys=None) -> str:
    """Run a command that must refuse and change nothing; return what it said."""
    before = tree()
    with pytest.raises(InputError, match=match) as error:
        command(words)
    assert tree() == before
    return str(error.value) + (capsys.readouterr().err if capsys else "")


# predict: the target is the scan, by whatever name


def link(path: str, to: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(Path(to).resolve())
    return path


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
    assert len(list(Path("masks").iterdir())) == (2 if extension in (".mhd", ".nhdr") else 1)  # masks, and nothing else
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
    return str(save_series(Path(path), np.zeros((8, 8, 1), np.int16)))


SAME_NAME = {
    "a series and a file": lambda: [str(scan("a/legs.nii.gz")), series("b/legs")],
    "links whose files have other names": lambda: [
        link("sub-1/T1w.nii.gz", "scans/leg.nii.gz"), link("sub-2/T1w.nii.gz", "scans/arm.nii.gz")],
    "names that differ in case": lambda: [str(scan("a/leg.nii.gz")), str(scan("b/LEG.nii.gz"))],
    "voxels of one and a header of the other": lambda: [str(scan("a/leg.nhdr")), str(scan("b/LEG.nhdr"))],
    "an umlaut in two spellings": lambda: [str(scan("a/Mu\u0308ller.mha")), str(scan("b/M\u00fcller.mha"))],
}  # fmt: skip


@pytest.mark.parametrize("case", SAME_NAME)
def test_two_masks_of_one_name_are_refused_before_the_work(case: str, source: Threshold) -> None:
    scans = SAME_NAME[case]()
    said = refused(predict.main, ["stub", *scans, "--out", "masks", "--force"], "would be written to one name")
    assert all(f"'{path}'" in said for path in scans)
    assert source.begins == 0


def test_two_links_to_one_scan_have_two_masks(source: Threshold) -> None:
    predict.main(
        ["stub", link("in/a.nii.gz", "scans/leg.nii.gz"), link("in/b.nii.gz", "scans/leg.nii.gz"), "--out", "m"]
    )
    assert {path.name for path in Path("m").iterdir()} == {"a.nii.gz", "b.nii.gz"}


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
    assert {path.name for path in Path("masks").iterdir()} == {"leg.nii.gz", "arm.nii.gz"}


def _made_before(path: str) -> str:
    """A MetaImage, written without ITK's writer, which the test replaces."""
    from kseg.volumes.slice_writer import SliceWriter

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with SliceWriter(Path(path), (5, 6, 2), np.eye(4)) as file:
        for value in (1, 2):
            file.write(np.full((5, 6), value, np.uint8))
    return path


def limited(size: int) -> Callable[[], None]:
    """Let a process write files of so many bytes at most, as a disk without room does."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def in_process(*words: str, file_bytes: int = resource.RLIM_INFINITY) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, preexec_fn=limited(file_bytes)
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_preparing_ends_in_one_line_where_the_disk_takes_no_more(workers: str, work: Path) -> None:
    before = tree()
    words = ["tiny.toml", "phantom.shape=[24, 24, 24]", "--workers", workers]
    code, said = in_process("kseg.prepare", *words, file_bytes=9000)
    assert code == 2
    line = said.splitlines()[-1]
    assert line.startswith(f"kseg.prepare: '{work}/tfrecords/.partial-leg/leg_00")
    assert "': File too large: raise the limit" in line
    assert "Traceback" not in said
    assert tree() == before


# prepare: data.records is something else


def somebodys() -> str:
    (Path("thesis") / "leg").mkdir(parents=True)
    Path("thesis/leg/chapter.txt").write_text("all of it")
    return "thesis/leg"


def a_run() -> str:
    claim(Path("saved_models/arm"), RUN)
    return "saved_models/arm"


def a_dataset_with(name: str) -> str:
    prepared_already()
    Path("tfrecords/leg", name).parent.mkdir(exist_ok=True)
    Path("tfrecords/leg", name).write_text("precious")
    return "tfrecords/leg"


TARGETS = {
    "a user's folder": (somebodys, r"is not a dataset that kseg made \(it holds 'chapter\.txt'\)"),
    "a link to it": (lambda: link("alias", somebodys()), "is not a dataset that kseg made"),
    "a folder of it": (lambda: str(Path(somebodys()).parent), r"it holds 'leg'"),
    "the scans": (lambda: "scans", r"it holds 'arm\.nii\.gz'"),
    "the working folder": (lambda: ".", "is not a dataset that kseg made"),
    "the disk": (lambda: "/", "is all of a disk"),
    "a run": (a_run, "is a run that kseg made, not a dataset"),
    "a dataset with notes": (lambda: a_dataset_with("notes.txt"), r"holds 'notes\.txt', which kseg did not write"),
    "a dataset with shards of a user's": (lambda: a_dataset_with("mine.tfrecord"), r"holds 'mine\.tfrecord'"),
    "a dataset with scans": (lambda: a_dataset_with("scans/leg.mha"), r"holds 'scans'"),
    "a file": (lambda: "tiny.toml", "is a file"),
    "a link to nowhere": (lambda: link("nowhere", "unmounted/leg"), "is a link to .* which is not there"),
    "where nothing can be written": (lambda: "/proc/kseg/leg", "'/proc/kseg': "),
}


@pytest.mark.parametrize("target", TARGETS)
def test_preparing_replaces_datasets_alone(target: str) -> None:
    make, match = TARGETS[target]
    refused(prepare.main, ["tiny.toml", f"data.records='{make()}'", "--force"], match)


@pytest.mark.parametrize("left_over", ["tfrecords/.partial-leg", "tfrecords/.old-leg"])
def test_a_user_s_folder_under_the_name_of_a_left_over_stays(left_over: str) -> None:
    Path(left_over).mkdir(parents=True)
    Path(left_over, "mine.tfrecord").write_text("precious")
    refused(prepare.main, ["tiny.toml"], "is not a dataset that kseg made")


def test_a_dataset_of_an_earlier_version_is_replaced() -> None:
    (prepared_already() / MARKER).unlink()
    prepare.main(["tiny.toml", "--force"])
    assert Path("tfrecords/leg", MARKER).is_file()


# train and sweep: what is refused before TensorFlow starts


@pytest.fixture
def prepared(monkeypatch) -> Iterator[None]:
    """A dataset, and the certainty that TensorFlow is not started."""
    prepared_already()
    for command in (train, sweep):
        monkeypatch.setattr(command, "start_tensorflow", lambda: pytest.fail("the work has begun"))


def named(name: str, *files: str, made: bool = False) -> str:
    folder = Path("saved_models", name)
    folder.mkdir(parents=True)
    if made:
        claim(folder, RUN)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("precious")
    return f"name={name}"


RUNS = {
    "a user's folder": (lambda: named("mine", "thesis.txt"), r"mine' is not a run that kseg made \(it holds 'thesis"),
    "a run with a user's file": (lambda: named("leg", "model.keras", "thesis.txt", made=True), "holds 'thesis"),
    "a run with a nested run": (lambda: named("a", "b/model.keras", made=True), "holds 'b'"),
    "the parent of a run": (lambda: (named("a/b", made=True), "name=a")[1], r"a' is not a run that kseg made"),
    "a file": (lambda: (named("x"), Path("saved_models/f").write_text(""), "name=f")[2], "is a file"),
    "a link to nowhere": (lambda: (link("saved_models/leg", "gone"), "name=leg")[1], "is a link to"),
}


@pytest.mark.parametrize("options", [["--force"], ["--folds", "2", "--force"], [], ["--folds", "2"]])
@pytest.mark.parametrize("target", RUNS)
def test_training_replaces_runs_alone(target: str, options: list[str], prepared: None) -> None:
    make, match = RUNS[target]
    words = ["tiny.toml", make(), *options]
    said = refused(train.main, words, match if "--force" in options else "saved_models/")
    assert "--force" not in said or target in ("a run with a user's file", "a run with a nested run")


def test_a_recipe_is_not_replaced_by_the_run_that_it_makes(prepared: None) -> None:
    folder = Path(named("leg", made=True).replace("name=", "saved_models/"))
    (folder / "recipe.toml").write_text(TINY)
    refused(train.main, [str(folder / "recipe.toml"), "--force"], r"recipe\.toml' is read, and lies in")


def test_a_grid_and_a_run_do_not_replace_each_other(prepared: None) -> None:
    named("leg", made=True)
    refused(sweep.main, ["tiny.toml"], "is a run that kseg made, not a grid: choose another name")
    named("arm", "report.html")
    refused(sweep.main, ["tiny.toml", "name=arm"], r"is not a grid that kseg made \(it holds 'report\.html'\)")
    named("foot/batch/seed-1", "thesis.txt")
    said = refused(sweep.main, ["tiny.toml", "name=foot"], "foot' is not a grid that kseg made")
    assert "thesis" not in said


def test_a_place_in_a_grid_that_is_taken_is_told_before_the_work(prepared: None, monkeypatch) -> None:
    from kseg.experiments import sweep as cells

    monkeypatch.setattr(cells, "prepare", lambda *_: pytest.fail("the work has begun"))
    cells.claim(Path("saved_models/leg"), cells.GRID)
    named("leg/batch/seed-1", "thesis.txt")
    refused(sweep.main, ["tiny.toml"], r"batch/seed-1' is not a run that kseg made \(it holds 'thesis\.txt'\)")


# phantom


def test_phantoms_replace_phantoms_alone() -> None:
    phantom.main(PHANTOM)
    phantom.main([*PHANTOM, "--force", "--seed", "1"])
    (made,) = Path("made/images").iterdir()
    made.write_bytes(Path("scans/leg.nii.gz").read_bytes())
    refused(phantom.main, [*PHANTOM, "--force"], f"{made.name}' is there, and is not as kseg.phantom wrote it")
    made.unlink()
    Path("made/manifest.csv").write_text("case,subject\n")
    refused(phantom.main, [*PHANTOM, "--force"], r"manifest\.csv' is there, and is not as kseg\.phantom wrote it")


@pytest.mark.parametrize("out", ["tiny.toml", "tiny.toml/legs", "/proc/kseg"])
def test_phantoms_that_cannot_be_written_are_told_in_one_line(out: str) -> None:
    assert "\n" not in refused(phantom.main, [*PHANTOM, "--out", out], out)
