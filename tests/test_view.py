"""`kseg.view` as people call it: files and runs, names, and what is refused before a page opens."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import nibabel
import numpy as np
import pytest
from volume_files import save_array

from kseg import view
from kseg.console.errors import InputError
from kseg.evaluation.written_scores import scores_by_case, written_scores
from kseg.records.manifest import load_manifest
from kseg.runs.trained_run import open_trained
from kseg.viewer.scene import Scene
from kseg.viewer.scene_of_run import scene_of_run
from kseg.volumes.volume_stream import gather

STUDY_RUN = "saved_models/study/shared/seed-1"


@pytest.fixture(autouse=True)
def _never_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ought to be refused must not wait for a browser."""
    monkeypatch.setattr("kseg.viewer.server.ViewServer.serve_forever", lambda _: pytest.fail("it is served"))


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return save_array("scan.mha", np.random.default_rng(0).integers(0, 900, (9, 10, 12)).astype(np.int16))


@pytest.fixture
def mask(scan: str) -> str:
    array = np.zeros((9, 10, 12), np.uint8)
    array[2:6, 2:5, 3:7] = 100
    return save_array("mask.nii.gz", array)


def scene_of(folder: Path, split: str) -> Scene:
    trained = open_trained(str(folder))
    records = trained.recipe.records_folder
    return scene_of_run(trained, records, load_manifest(records), split)


def test_the_page_is_served_until_it_is_ended(mask: str, scan: str) -> None:
    command = [sys.executable, "-m", "kseg.view", scan, mask, "--labels", "soleus=100", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = json.loads(process.stdout.readline())
            assert said["cases"] == ["scan"]
            with urlopen(f"{said['address']}scene.json", timeout=60) as answer:
                soleus = {"name": "soleus", "colour": "#E69F00", "unlabelled": False}
                assert json.load(answer)["structures"] == [soleus]
            process.terminate()  # Ctrl+C is ignored by what a shell runs in the background
            _, lines = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert lines.splitlines() == [f"the page is {said['address']} (for this machine alone; Ctrl+C ends it)", "ended"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.nii"], "'nowhere.nii' is neither a file, nor a folder, nor a run in saved_models: correct it"),
        (["leg.kseg"], "'leg.kseg' is a package, which holds no cases: name a run, or a scan with --run leg.kseg"),
        (["scan.mha", "--split", "val"], "--split is of a run, and 'scan.mha' is none"),
        (["scan.mha", "--records", "legs"], "--records is of a run, and 'scan.mha' is none"),
        (["scan.mha", "nowhere.nii"], "'nowhere.nii' does not exist: correct the path"),
        (["scan.mha", "other.mha"], r"mask 'other.mha' has the shape \(6, 10, 12\), the scan \(12, 10, 9\)"),
        (["mask.nii.gz", "scan.mha"], "mask 'scan.mha' is no label map: .* name the scan first, then its masks"),
        (["scan.mha", "mask.nii.gz", "./mask.nii.gz"], "mask 'mask.nii.gz' is named twice"),
        (["scan.mha", "mask.nii.gz", "--labels", "soleus"], "--labels: 'soleus' is no NAME=VALUE"),
        (["scan.mha", "soleus=100"], "'soleus=100' does not exist|'soleus=100' is no file that is there"),
        (["scan.mha", "data.spacing_mm=[1, 1, 1]"], r"'data.spacing_mm=\[1, 1, 1\]' is no file that is there"),
        (["scan.mha", "--run", "gone"], "there is no run 'gone'"),
        ([], "the following arguments are required|name a scan, or a run"),
        (["scan.mha", "--port", "many"], "invalid int value: 'many'"),
    ],
)
def test_what_cannot_be_shown_is_a_line(words: list[str], line: str, mask: str) -> None:
    save_array("other.mha", np.zeros((12, 10, 6), np.uint8))
    with pytest.raises(InputError, match=line):
        view.main([*words, "--no-browser"])


def test_masks_of_one_name_are_told_apart_by_their_folders(mask: str, scan: str) -> None:
    from kseg.viewer.scene_of_files import scene_of_files

    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy(mask, folder)
    scene = scene_of_files(Path(scan), [Path("a", mask), Path("b", mask)], {})
    assert scene.cases[0].masks == (f"a/{mask}", f"b/{mask}")
    assert [one.name for one in scene.structures] == ["label 100"]


def test_a_runs_cases_have_prediction_truth_and_scores(finished_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished_study)
    scene = scene_of(Path(STUDY_RUN), "test")
    trained = open_trained(STUDY_RUN)
    with written_scores(trained.folder, "test") as document:
        scores = scores_by_case(document)
    assert [case.name for case in scene.cases] == [*scores]
    case = scene.cases[0]
    own = scores[case.name][0]
    assert case.masks == ("prediction", "truth")
    assert case.scores[1][:2] == (own.class_name, f"{own.dice:.3f}")
    opened = case.open()
    prediction, truth = (gather(opened.masks[name], name).array[..., 0] for name in case.masks)
    both = 2 * ((prediction == 1) & (truth == 1)).sum() / ((prediction == 1).sum() + (truth == 1).sum())
    assert both == pytest.approx(own.dice)
    assert opened.image.shape == prediction.shape
    written = nibabel.load(trained.folder.mask("test", case.name))
    assert {*np.unique(np.asanyarray(written.dataobj))} <= {*trained.description.label_map.values}


@pytest.mark.parametrize(
    ("remove", "split", "line"),
    [
        ("evaluation/test.json", "test", "test.json' is missing or damaged: .*evaluate .* --split test makes it"),
        ("evaluation/test-*.nii.gz", "test", "of the scored cases|were not kept when they were scored: .*evaluate"),
        ("evaluation/train.json", "train", "train.json' is missing or damaged: .*evaluate .* --split train makes it"),
    ],
)
def test_a_run_without_what_is_shown_says_how_to_make_it(
    remove: str, split: str, line: str, finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_study / STUDY_RUN, tmp_path / "run")
    for path in (tmp_path / "run").glob(remove):
        path.unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=line):
        view.main(["run", "--split", split, "--no-browser"])


def test_masks_beside_a_run_are_refused(mask: str, finished_study: Path) -> None:
    for words in ([mask], ["--labels", "a=1"], ["--run", "leg"], ["data.assume_spacing_mm=[1, 1, 1]"]):
        with pytest.raises(InputError, match=r"is a run, whose own masks are shown: leave .* out, or name a scan"):
            view.main([str(finished_study / STUDY_RUN), *words, "--no-browser"])


def test_the_address_is_not_on_the_browsers_command_line(
    scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def look(address: str) -> None:
        path = Path(address.removeprefix("file://"))
        opened.append((path, path.read_text(), path.parent.stat().st_mode & 0o777))

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("webbrowser.open", look)
    monkeypatch.setattr("kseg.viewer.server.ViewServer.serve_forever", lambda _: None)
    view.main([scan])
    [(path, text, mode)] = opened
    assert text.startswith('<meta http-equiv="refresh" content="0; url=http://127.0.0.1:')
    assert (mode, path.exists()) == (0o700, False)
    assert not path.parent.name.startswith(".")  # where a browser that is a snap may not look


def test_an_earlier_models_masks_are_told_of(finished_study: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_study / STUDY_RUN, tmp_path / "run")
    scores = tmp_path / "run/evaluation/test.json"
    document = json.loads(scores.read_bytes())
    scores.write_text(json.dumps(document | {"models": ["0" * 64]}))
    assert [note[:51] for note in scene_of(tmp_path / "run", "test").notes] == [
        "scores and masks are those of an earlier model of t"
    ]
    assert scene_of(finished_study / STUDY_RUN, "test").notes == []
