"""Which masks to trust, through the commands: validation says what agreement is worth, prediction uses it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, export, phantom, predict, prepare, train
from kseg.console.errors import InputError
from kseg.inference.postprocessing_choice import ClassChoice, PostProcessing, save_postprocessing
from kseg.runs.trained_run import open_trained

DATA = {"records": "tfrecords/legs", "val_fraction": 0.5, "test_fraction": 0.3}
SIZES = {"subjects": 12, "shape": [24, 24, 32]}
MUSCLES = ["soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis"]
JOINED = 'evaluation.ensemble=["second"]'


@pytest.fixture(scope="module")
def folder(made_once: Callable[[str, Callable[[Path], None]], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one dataset, another seed each, and two scans."""

    def fill(place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            phantom.main(["--out", "scans", "--subjects", "2", "--shape", "24", "24", "32", "--seed", "5"])
            for number, name in enumerate(("first", "second"), start=1):
                patches = {"flip_axes": ["x"]}
                text = recipe_text(name, data=DATA, phantom=SIZES, patches=patches, train={"validation_patches": 4})
                Path(f"{name}.toml").write_text(f"seed = {number}\n{text}", encoding="utf-8")
            prepare.main(["first.toml"])
            train.main(["first.toml"])
            train.main(["second.toml"])

    place = tmp_path_factory.mktemp("trust") / "work"
    return shutil.copytree(made_once("trust", fill), place)


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def validated(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main(["first", "--split", "val"])


def learned() -> list[dict[str, Any]]:
    document = json.loads(Path("saved_models/first/expected_dice.json").read_text(encoding="utf-8"))
    return document["learned"]


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_before_validation_agreement_alone_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    Path("saved_models/first/expected_dice.json").unlink(missing_ok=True)
    predict.main(["first", "scans/images", "--out", "before", "--rank"])
    said = capsys.readouterr()
    assert "expected Dice" not in said.err
    assert "the least trusted first" in said.out
    assert "ordered by agreement, since no Dice is expected of any" in said.err
    assert {row["expected_dice"] for row in table("before/volumes.csv")} == {""}
    known = [float(row["agreement"]) for row in table("before/volumes.csv") if row["agreement"]]
    assert known
    assert all(0 <= value <= 1 for value in known)


@pytest.mark.usefixtures("validated")
def test_validation_cases_tell_what_agreement_is_worth() -> None:
    (stored,) = learned()
    assert set(stored["classes"]) == set(MUSCLES)
    scores = json.loads(Path("saved_models/first/evaluation/val.json").read_text(encoding="utf-8"))
    for name, points in stored["classes"].items():
        rows = [row for rows in scores["cases"].values() for row in rows if row["class_name"] == name]
        both = [(row["agreement"] or 0.0, row["dice"]) for row in rows if row["dice"] is not None]
        np.testing.assert_allclose([points["agreement"], points["dice"]], np.transpose(both), rtol=1e-12)
    assert min(len(points["dice"]) for points in stored["classes"].values()) >= 5
    assert all(points["in_all"] for points in stored["classes"].values())


@pytest.mark.usefixtures("validated")
def test_masks_have_an_expected_dice_an_order_and_an_entropy(capsys: pytest.CaptureFixture[str]) -> None:
    predict.main(["first", "scans/images", "--out", "masks", "--rank", "--uncertainty", "--json"])
    said = capsys.readouterr()
    report = last_json(said.out)
    rows = [row for row in table("masks/volumes.csv") if row["expected_dice"]]
    assert rows
    for row in rows:
        low, dice, high = (float(row[f"expected_dice{end}"]) for end in ("_low", "", "_high"))
        assert 0 <= low <= dice <= high <= 1
    assert "expected Dice" in said.err
    order = report["least_trusted_first"]
    assert sorted(one["mask"] for one in order) == sorted(report["written"])
    assert [one["expected_dice"] for one in order] == sorted(one["expected_dice"] for one in order)
    for mask in report["written"]:
        entropy = nib.load(mask.replace(".nii.gz", "_uncertainty.nii.gz"))
        values = np.asarray(entropy.dataobj)
        np.testing.assert_array_equal(entropy.affine, nib.load(mask).affine)
        assert values.dtype == np.uint8
        assert 0 < values.max() <= 100
    with pytest.raises(InputError, match="exists already: pass --force"):
        predict.main(["first", report_scan(), "--out", "masks", "--uncertainty"])
    predict.main(["first", report_scan(), "--out", "masks", "--uncertainty", "--force"])
    assert "is of an earlier mask" not in capsys.readouterr().err
    predict.main(["first", report_scan(), "--out", "masks", "--force"])
    assert "_uncertainty.nii.gz' is of an earlier mask" in capsys.readouterr().err


def report_scan() -> str:
    return str(sorted(Path("scans/images").glob("*.nii.gz"))[0])


@pytest.mark.usefixtures("validated")
def test_what_others_have_under_the_name_of_an_entropy_is_not_replaced() -> None:
    scan = Path(report_scan())
    other = Path("theirs") / scan.name.replace(".nii.gz", "_uncertainty.nii.gz")
    other.parent.mkdir()
    shutil.copy(scan, other)
    with pytest.raises(InputError, match="exists already, and is not as kseg wrote it"):
        predict.main(["first", str(scan), "--out", "theirs", "--uncertainty", "--force"])
    assert other.read_bytes() == scan.read_bytes()
    predict.main(["first", str(scan), "--out", "theirs"])  # without it there is nothing in the way


@pytest.mark.usefixtures("validated")
def test_test_cases_have_the_dice_that_was_expected_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main(["first", "--json"])
    said = capsys.readouterr()
    rows = [row for row in table("saved_models/first/evaluation/test.csv") if row["expected_dice"]]
    assert rows
    assert "expected Dice: rank correlation with the true one" in said.err
    compared = last_json(said.out)["expected_dice"]
    assert compared["cases"] == len({row["case"] for row in rows})
    assert compared["scored"] == len(rows)
    page = Path("saved_models/first/evaluation/test.html").read_text(encoding="utf-8")
    assert "<th>expected Dice</th>" in page


def test_runs_of_one_dataset_are_an_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main(["first", "--split", "val"])
    chosen = Path("saved_models/first/postprocessing.json").read_bytes()
    evaluate.main(["first", JOINED, "--split", "val"])
    assert [len(one["models"]) for one in learned()] == [1, 2]
    assert Path("saved_models/first/postprocessing.json").read_bytes() == chosen
    capsys.readouterr()
    predict.main(["first", report_scan(), JOINED, "--out", "joined"])
    said = capsys.readouterr().err
    assert "mean of 2 runs" in said
    assert "expected Dice" in said
    predict.main(["first", report_scan(), "--out", "alone"])
    assert "expected Dice" in capsys.readouterr().err  # what the run alone has learned is still there
    members = open_trained("first", [JOINED]).members
    assert [member.path.name for member in members] == ["first", "second"]


@pytest.mark.usefixtures("validated")
def test_an_ensemble_expects_the_dice_after_the_post_processing_that_its_masks_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    largest, run = ("largest_component",), open_trained("first")
    classes = {name: ClassChoice(operations=largest, dice_before=0.1, dice_after=0.2) for name in MUSCLES}
    choice = PostProcessing(cases=5, models=tuple(run.model_hashes()), classes=classes)
    path = run.folder.path / "postprocessing.json"
    own = path.read_bytes()
    save_postprocessing(choice, run.folder.path)
    tried = [{(): 0.5, largest: 0.123}] * len(MUSCLES)
    monkeypatch.setattr("kseg.inference.postprocessing_choice.try_operations", lambda *_: tried)
    evaluate.main(["first", JOINED, "--split", "val"])
    (entry,) = (one for one in learned() if len(one["models"]) == 2 and one["operations"])
    assert entry["operations"] == {name: list(largest) for name in MUSCLES}
    assert {dice for of_class in entry["classes"].values() for dice in of_class["dice"]} == {0.123}
    capsys.readouterr()
    predict.main(["first", report_scan(), JOINED, "--out", "largest"])
    assert "expected Dice" in capsys.readouterr().err
    path.write_bytes(own)


def test_an_ensembles_export_has_a_card_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main(["first"])
    capsys.readouterr()
    export.main(["first", JOINED, "--json"])
    assert last_json(capsys.readouterr().out)["differing_labels"] <= 1e-4
    card = Path("saved_models/first/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "the mean of 2 networks, runs of one dataset" in card
    assert "folds" not in card
    assert "Means over" not in card  # the scores that are there are of the run alone


@pytest.mark.parametrize("form", ["onnx", "tensorrt", "tensorrt-rtx"])
def test_what_holds_one_network_is_not_written_of_an_ensemble(form: str) -> None:
    with pytest.raises(InputError, match="export each run alone"):
        export.main(["first", JOINED, "--format", form])


@pytest.mark.usefixtures("validated")
def test_a_package_carries_what_agreement_is_worth(capsys: pytest.CaptureFixture[str]) -> None:
    export.main(["first", "--format", "package"])
    shutil.copy("saved_models/first/first.kseg", "passed.kseg")
    capsys.readouterr()
    predict.main(["passed.kseg", report_scan(), "--out", "packed"])
    assert "expected Dice" in capsys.readouterr().err


@pytest.mark.usefixtures("validated")
def test_a_mask_that_keeps_an_annotation_has_no_expected_dice() -> None:
    mask = f"scans/labels/{Path(report_scan()).name}"
    words = ["data.annotated_slices=z", "--annotation", mask]
    predict.main(["first", report_scan(), "--out", "kept", *words])
    assert {row["agreement"] + row["expected_dice"] for row in table("kept/volumes.csv")} == {""}


def test_folds_and_other_runs_are_not_joined() -> None:
    with pytest.raises(InputError, match="folds are an ensemble already"):
        train.main(["first.toml", JOINED, "name=folded", "--folds", "2"])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ('["first"]', "is in it twice, or a copy"),
        ('["nobody"]', "nobody"),
        ('["second", "second"]', "is in it twice"),
    ],
)
def test_runs_that_make_no_ensemble_are_refused(others: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_trained("first", [f"evaluation.ensemble={others}"])


def test_a_run_of_other_scans_is_no_member() -> None:
    shutil.copytree("saved_models/second", "saved_models/other", dirs_exist_ok=True)
    path = Path("saved_models/other/data.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    described["learned_from"]["train"].reverse()
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="was trained or validated on other scans"):
        open_trained("first", ['evaluation.ensemble=["other"]'])


def test_an_ensemble_of_runs_is_no_package() -> None:
    shutil.copytree("saved_models/first", "saved_models/joined", dirs_exist_ok=True)
    recipe = Path("saved_models/joined/recipe.toml")
    text = recipe.read_text(encoding="utf-8").replace("ensemble = []", 'ensemble = ["second"]')
    assert "second" in text
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="a package holds one run"):
        export.main(["joined", "--format", "package"])


@pytest.mark.parametrize("option", ["--rank", "--uncertainty"])
def test_a_server_tells_no_trust(option: str) -> None:
    with pytest.raises(InputError, match=f"{option} is for a run on this machine"):
        predict.main(["first", report_scan(), "--out", "served", "--server", "localhost:1", option])
