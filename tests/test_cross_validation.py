"""`kseg.train --folds`: whole runs that validate on their own subjects, and go on where they were killed."""

import json
import shutil
from pathlib import Path

import pytest
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, train
from kseg.console.errors import InputError
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.ownership import MARKER


@pytest.fixture(scope="module")
def two_folds(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which two folds are trained on four subjects."""
    folder = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("legs.toml").write_text(recipe_text("legs", data={"records": tiny_dataset.as_posix()}), encoding="utf-8")
        train.main(["legs.toml", "--folds", "2"])
    return folder


@pytest.fixture
def trained(two_folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in; returns the folder of the runs."""
    monkeypatch.chdir(shutil.copytree(two_folds, tmp_path / "work"))
    return Path("saved_models/legs")


def weights(fold: Path) -> bytes:
    return (fold / "model.keras").read_bytes()


def test_each_fold_is_a_whole_run_and_every_subject_validates_once(trained: Path, tiny_dataset: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [MARKER, "fold-1", "fold-2"]
    validated: list[str] = []
    for number in (1, 2):
        folder = open_run(f"legs/fold-{number}")
        folder.load_model()
        assert len(folder.history.read_text(encoding="utf-8").splitlines()) == 3
        validated += folder.load_data_description().val_subjects
    others = {case.subject for case in load_manifest(tiny_dataset).cases if case.split != "test"}
    assert len(validated) == 4
    assert set(validated) == others


def test_evaluation_knows_on_whom_a_fold_validated(trained: Path, tiny_dataset: Path) -> None:
    subject_of = {case.case: case.subject for case in load_manifest(tiny_dataset).cases}
    evaluate.main(["legs/fold-2", "--split", "val"])
    folder = RunFolder(trained / "fold-2")
    scored = json.loads((folder.evaluation / "val.json").read_text(encoding="utf-8"))["cases"]
    assert {subject_of[case] for case in scored} == set(folder.load_data_description().val_subjects)


def test_resuming_trains_only_what_is_not_finished(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = trained / "fold-1", trained / "fold-2"
    before, stamp = weights(second), (first / "model.keras").stat().st_mtime_ns
    shutil.rmtree(second / "checkpoints" / "epoch-000002")  # killed in the second epoch
    (second / "report.json").unlink()
    train.main(["legs.toml", "--folds", "2", "--resume", "--json"])
    report = last_json(capsys.readouterr().out)
    assert [fold["epochs"] for fold in report["folds"]] == [2, 2]
    assert (first / "model.keras").stat().st_mtime_ns == stamp
    assert (second / "checkpoints" / "epoch-000002").is_dir()
    shutil.rmtree(second)  # killed before it began
    train.main(["legs.toml", "--folds", "2", "--resume"])
    assert (first / "model.keras").stat().st_mtime_ns == stamp
    assert RunFolder(second).load_data_description().val_subjects
    assert len(before) == len(weights(second))


def test_longer_training_goes_on_with_finished_folds(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.main(["legs.toml", "train.epochs=3", "--folds", "2", "--resume", "--json"])
    report = last_json(capsys.readouterr().out)
    assert [fold["epochs"] for fold in report["folds"]] == [3, 3]
    assert report["best_val_dice"] == pytest.approx(sum(fold["best_val_dice"] for fold in report["folds"]) / 2)


def test_forced_folds_leave_none_of_before(trained: Path) -> None:
    shutil.copytree(trained / "fold-2", trained / "fold-3")
    train.main(["legs.toml", "train.epochs=1", "--folds", "2", "--force"])
    assert sorted(path.name for path in trained.iterdir()) == [MARKER, "fold-1", "fold-2"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--folds", "1"], r"--folds 1: choose from 2 to 4"),
        (["--folds", "5"], r"--folds 5: choose from 2 to 4"),
        (["--folds", "2"], r"saved_models.legs' exists already.*--resume"),
        (["--folds", "4", "--resume"], r"fold-1' validated on other subjects"),
        (["--resume"], r"no run .* to resume"),
        (["loss.dice=1", "--folds", "2", "--resume"], r"'loss' of the recipe differs"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], complaint: str, trained: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        train.main(["legs.toml", *words])


def test_a_run_without_folds_is_not_taken_for_one_with(trained: Path) -> None:
    shutil.copy(trained / "fold-1" / "recipe.toml", trained)
    with pytest.raises(InputError, match="has no folds"):
        train.main(["legs.toml", "--folds", "2", "--resume"])
