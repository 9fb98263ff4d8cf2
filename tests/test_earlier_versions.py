"""What kseg 0.1.0 wrote, before its modules got other names, still loads: datasets, runs, folds, sweeps, checkpoints.

See `tests/fixtures/kseg-0.1.0/README.md`.
"""

import csv
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from printed import last_json

from kseg import evaluate, export, phantom, predict, prepare, sweep, train
from kseg.console.errors import InputError
from kseg.patches import sampling
from kseg.records.manifest import load_manifest
from kseg.records.prepared_case import check_shards
from kseg.runs.owned_files import FOLDS, RUN
from kseg.storage.ownership import check_replaceable, is_kind
from kseg.sweeps.run_sweep import SWEEP

WORK = Path(__file__).parent / "fixtures" / "kseg-0.1.0" / "work.zip"
RECORDS, LEGS = Path("tfrecords/legs"), Path("saved_models/legs")
FOLDED, STUDY = Path("saved_models/folds"), Path("saved_models/study")


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the folder in which kseg 0.1.0 worked is the current folder."""
    with zipfile.ZipFile(WORK) as archive:
        archive.extractall(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.keras")}


def test_its_dataset_is_whole_and_is_not_prepared_again(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = load_manifest(RECORDS)
    check_shards(RECORDS, manifest)
    assert manifest.kseg_version == "0.1.0"
    assert [len(manifest.of_split(split)) for split in ("train", "val", "test")] == [2, 1, 1]
    prepare.main(["legs.toml"])
    assert "is prepared already, from the same scans in the same way" in capsys.readouterr().err
    prepare.main(["legs.toml", "--verify"])
    with pytest.raises(InputError, match=r"was prepared otherwise \(.*\): pass --force to prepare it anew") as caught:
        prepare.main(["legs.toml", "phantom.difficulty=0.5"])
    assert "\n" not in str(caught.value)


def test_its_dataset_is_replaced() -> None:
    before = (RECORDS / "manifest.json").read_bytes()
    prepare.main(["legs.toml", "phantom.subjects=3", "--force"])
    assert (RECORDS / "manifest.json").read_bytes() != before
    assert len(load_manifest(RECORDS).cases) == 3
    assert sorted(path.name for path in RECORDS.glob("*.tfrecord")) == [f"leg_00{n}.tfrecord" for n in (1, 2, 3)]


def test_its_scans_are_replaced() -> None:
    phantom.main(["--out", "scans", "--subjects", "1", "--shape", "16", "16", "16", "--force"])
    assert voxels(Path("scans/images/leg_001.nii.gz")).shape == (16, 16, 16)


def test_its_run_goes_on_as_it_would_have_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "move_inside", lambda start, first, last: start)  # patches then reached beyond scans
    before = (LEGS / "history.csv").read_text(encoding="utf-8")
    train.main(["legs.toml", "train.epochs=3", "--resume", "--json"])
    assert last_json(capsys.readouterr().out)["epochs"] == 3
    assert (LEGS / "history.csv").read_text(encoding="utf-8").startswith(before)
    now, then = rows(LEGS / "history.csv"), rows(Path("resumed.csv"))
    assert now[0].keys() == then[0].keys()
    assert len(now) == len(then) == 3
    # Weights, averages, optimiser and random numbers were all taken up: other processors differ by rounding alone.
    for key in ("loss", "alpha", "val_loss", "val_dice"):
        assert float(now[2][key]) == pytest.approx(float(then[2][key]), rel=1e-3), key


def test_its_run_is_replaced_by_one_trained_on_its_dataset() -> None:
    train.main(["legs.toml", "train.epochs=1", "train.steps_per_epoch=1", "--force"])
    assert len(rows(LEGS / "history.csv")) == 1
    assert not (LEGS / "model.onnx").exists()
    assert not (LEGS / "evaluation").exists()


@pytest.mark.parametrize("name", ["legs", "folds"])
def test_its_models_give_the_masks_that_they_gave_then(name: str) -> None:
    predict.main([name, "scans/images", "--out", "masks/now"])
    mask, earlier = (Path("masks") / folder / "leg_001.nii.gz" for folder in ("now", name))
    np.testing.assert_array_equal(voxels(mask), voxels(earlier))
    np.testing.assert_array_equal(nibabel.load(mask).affine, nibabel.load(earlier).affine)


def test_its_run_is_evaluated_and_exported_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    scores = LEGS / "evaluation" / "test.json"
    before = json.loads(scores.read_text(encoding="utf-8"))
    scores.unlink()
    evaluate.main(["legs"])
    assert "'saved_models/legs' is of an earlier kseg and does not say whose scans" in capsys.readouterr().err
    now = json.loads(scores.read_text(encoding="utf-8"))
    assert now["cases"].keys() == before["cases"].keys()
    assert now["summary"]["foreground"]["dice"] == pytest.approx(before["summary"]["foreground"]["dice"])
    pytest.importorskip("onnx")
    export.main(["legs", "--format", "onnx", "--json"])
    assert last_json(capsys.readouterr().out)["written"][0]["largest_difference"] < 1e-4


ITS_DEFAULTS = (
    "network.preset=midl2021",
    "loss.parametric_tversky=1",
    "train.optimizer=adam",
    "train.ema=0",
    "train.precision=float32",
    "augmentation.scaling=[0.8, 1.25]",
    "evaluation.surface_tolerance_mm=1",
)
"""Of kseg 0.1.0, where they were others."""


def test_its_sweep_is_finished_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(STUDY)
    with pytest.raises(InputError, match="by a version of kseg with other defaults: choose another name"):
        sweep.main(["study.toml"])
    sweep.main(["study.toml", *ITS_DEFAULTS, "--json"])
    assert last_json(capsys.readouterr().out)["runs"].keys() == {
        f"study/{choice}/seed-1" for choice in ("half", "none")
    }
    assert stamps(STUDY) == before
    assert (STUDY / "report.html").is_file()


def test_its_folders_are_known_as_its_own() -> None:
    check_replaceable(LEGS, RUN, FOLDS)
    check_replaceable(FOLDED, RUN, FOLDS)
    assert is_kind(STUDY, SWEEP)
