"""The whole path of a run, on the phantom: prepare, train, resume, evaluate, predict, export."""

import io
import json
import re
import shlex
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tensorflow as tf
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, export, phantom, predict, prepare, train
from kseg.console.errors import InputError
from kseg.records.destinations import DATASET
from kseg.records.manifest import load_manifest
from kseg.runs import planned_recipe
from kseg.runs.owned_files import RUN
from kseg.runs.package import as_run
from kseg.storage.ownership import check_replaceable
from kseg.volumes.read import read_volume

RECIPE = recipe_text(
    "leg",
    data={"records": "tfrecords/leg"},
    phantom={"subjects": 4, "shape": [24, 20, 32], "difficulty": 0.0},
    network={"filters": [2, 4], "dilation_rates": [1, 2], "skip": "add"},
    train={"steps_per_epoch": 4, "learning_rate": 1e-2},
)


@pytest.fixture(scope="module")
def trained_leg(tmp_path_factory):
    """A working folder in which the phantom is prepared and a run trained; not to change."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("leg.toml").write_text(RECIPE, encoding="utf-8")
        prepare.main(["leg.toml"])
        train.main(["leg.toml"])
    return folder


@pytest.fixture(scope="module")
def served_leg(trained_leg, tmp_path_factory):
    """The same, evaluated and exported besides, and what the export printed; not to change."""
    folder = shutil.copytree(trained_leg, tmp_path_factory.mktemp("served") / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main(["leg", "--split", "val"])
        evaluate.main(["leg", "evaluation.flip_axes=['z']"])  # as it is exported
        Path("saved_models/leg/1").mkdir()  # the next version is the second
        with redirect_stdout(io.StringIO()) as printed:
            export.main(["leg", "evaluation.flip_axes=['z']", "--licence", "CC0 1.0", "--json"])
    return folder, printed.getvalue()


@pytest.fixture(autouse=True)
def _in_a_copy(request, trained_leg, tmp_path, monkeypatch):
    """Each test has a working folder of its own: of the run as exported where it asks for that."""
    folder = request.getfixturevalue("served_leg")[0] if "served_leg" in request.fixturenames else trained_leg
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "work"))


def report(capsys):
    """The JSON object that a command printed last on standard output."""
    return last_json(capsys.readouterr().out)


def test_prepare_reports_its_cases(capsys):
    prepare.main(["leg.toml", "data.records=tfrecords/again", "--json"])
    numbers = report(capsys)
    assert numbers["cases"] == {"train": 2, "val": 1, "test": 1}
    assert sum(numbers["class_fractions"].values()) == pytest.approx(1)
    first, again = (sorted(Path("tfrecords", name).glob("*")) for name in ("leg", "again"))
    assert [path.name for path in first] == [path.name for path in again]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, again, strict=True))


def test_training_leaves_a_whole_run_folder():
    folder = Path("saved_models/leg")
    assert {path.name for path in folder.iterdir()} >= {
        "recipe.toml",
        "data.json",
        "model.keras",
        "history.csv",
        "logs",
    }
    rows = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3
    columns = rows[0].split(",")
    assert {"loss", "val_loss", "alpha", "beta", "dice", "dice_soleus", "precision", "recall"} <= set(columns)


def test_tensorboard_has_the_curves():
    tags = {}
    for file in Path("saved_models/leg/logs").glob("*/events*"):
        for event in tf.data.TFRecordDataset(str(file)):
            for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value:
                tags.setdefault(file.parent.name, set()).add(value.tag)
    assert {"Loss", "Dice", "Dice/soleus", "Training/learning rate"} <= tags["train"]
    assert tags["alpha"] == tags["beta"] == {"Tversky penalties"}


def test_training_goes_on_where_it_stopped(capsys):
    train.main(["leg.toml", "name=longer"])
    train.main(["leg.toml", "name=longer", "--resume", "--json", "train.epochs=3"])  # a change after options counts too
    assert report(capsys)["epochs"] == 3
    rows = Path("saved_models/longer/history.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]


def test_a_split_that_is_not_the_runs_is_neither_scored_nor_resumed(monkeypatch, capsys):
    learned_from = json.loads(Path("saved_models/leg/data.json").read_text(encoding="utf-8"))["learned_from"]
    assert [len(learned_from[split]) for split in ("train", "val")] == [2, 1]
    prepare.main(["leg.toml", "data.test_fraction=0.5", "--force"])
    now = {case.subject: case.split for case in load_manifest(Path("tfrecords/leg")).cases}
    (validated,), (trained, _) = learned_from["val"], sorted(learned_from["train"], key=now.get, reverse=True)
    assert (now[validated], now[trained]) == ("test", "val")
    monkeypatch.setattr(evaluate, "start_tensorflow", lambda: pytest.fail("the work has begun"))
    with pytest.raises(InputError, match=f"run '.*leg' chose its best model by subject '{validated}', in the test"):
        evaluate.main(["leg"])
    with pytest.raises(InputError, match=f"run '.*leg' was trained on subject '{trained}', in the val split"):
        evaluate.main(["leg", "--split", "val"])
    changes = [f"subject '{name}' was {was}, is {now[name]}" for name, was in ((validated, "val"), (trained, "train"))]
    with pytest.raises(InputError, match=rf"another split, than '.*leg' has now \({', '.join(sorted(changes))}\)"):
        train.main(["leg.toml", "train.epochs=3", "--resume"])
    assert not list(Path("saved_models/leg").glob("evaluation/*"))
    assert len(Path("saved_models/leg/history.csv").read_text(encoding="utf-8").splitlines()) == 3
    prepare.main(["leg.toml", "--force"])
    train.main(["leg.toml", "--resume", "--json"])
    assert report(capsys)["epochs"] == 2


def test_a_recipe_that_says_what_the_dataset_is_not_is_not_trained():
    with pytest.raises(InputError, match=r"'tfrecords/leg' was prepared with data\.spacing_mm = \[\], .* \[5, 5, 8\]"):
        train.main(["leg.toml", "data.spacing_mm=[5,5,8]", "name=other"])
    assert not Path("saved_models/other").exists()


def test_time_bounds_training(capsys):
    train.main(["leg.toml", "name=brief", "train.epochs=100000", "train.max_minutes=0.05", "--json"])
    out, err = capsys.readouterr()
    numbers = last_json(out)
    assert numbers["epochs"] < 1000
    assert numbers["ended_by"] == "max_minutes"
    command = next(line for line in err.splitlines() if line.startswith("to train it longer: "))
    assert float(re.findall(r"train\.max_minutes=(\S+) --resume$", command)[0]) > 0.05
    assert Path("saved_models/brief/model.keras").is_file()


def test_a_run_that_its_epochs_end_within_its_time_is_told_to_take_more_epochs(capsys):
    train.main(["leg.toml", "name=brief", "train.epochs=2", "train.max_minutes=60", "--json"])
    out, err = capsys.readouterr()
    assert last_json(out)["ended_by"] == "epochs"
    command = next(line for line in err.splitlines() if line.startswith("to train it longer: "))
    assert int(re.findall(r"train\.epochs=(\d+) --resume$", command)[0]) > 2


def test_a_plan_that_the_first_steps_belie_is_made_again(monkeypatch, capsys):
    monkeypatch.setattr(planned_recipe, "least_steps", lambda recipe, complete: 10**9)
    train.main(["leg.toml", "name=slow", "train.epochs=5", "train.max_minutes=0.5", "--json"])
    out, err = capsys.readouterr()
    assert "s here: the time would hold" in err
    assert err.count("compiling the first step") == 2
    assert last_json(out)["epochs"] == 5


def test_a_run_of_few_steps_says_so_and_names_the_command_that_goes_on(capsys):
    train.main(["leg.toml", "name=brief", "train.epochs=3"])
    err = capsys.readouterr().err
    assert "hardly trained: it made" in err
    command = next(line for line in err.splitlines() if line.startswith("to train it longer: "))
    words = shlex.split(command.partition("kseg.train ")[2])
    assert words[:2] == ["leg.toml", "name=brief"]
    assert words[-1] == "--resume"
    assert int(words[2].removeprefix("train.epochs=")) > 3
    train.main([*words[:2], "train.epochs=4", "--resume", "--json"])
    assert report(capsys)["epochs"] == 4


def test_training_ends_where_validation_no_longer_gains(capsys):
    # A step of 1e-12 changes no voxel: the first validation stays the best.
    still = ["train.epochs=9", "train.patience=2", "train.learning_rate=1e-12", "train.ema=0.5", "train.clip_norm=1"]
    train.main(["leg.toml", "name=still", *still, "train.deep_supervision=true", "network.norm=group", "--json"])
    said = capsys.readouterr()
    assert (last_json(said.out)["epochs"], last_json(said.out)["ended_by"]) == (3, "patience")
    assert "to train it longer" not in said.err


def test_evaluation_scores_whole_volumes(capsys):
    evaluate.main(["leg", "--json"])
    out, err = capsys.readouterr()
    assert "earlier kseg" not in err
    summary = last_json(out)["summary"]
    assert summary["cases"] == 1
    assert set(summary["classes"]) == {"soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis"}
    written = json.loads(Path("saved_models/leg/evaluation/test.json").read_text(encoding="utf-8"))
    assert written["summary"] == summary
    assert len(list(Path("saved_models/leg/evaluation").glob("test-*.png"))) == 1


def test_validation_of_one_case_chooses_no_postprocessing_and_says_why(capsys):
    evaluate.main(["leg", "--split", "val", "--json"])
    out, err = capsys.readouterr()
    chosen = last_json(out)["postprocessing"]
    stored = json.loads(Path("saved_models/leg/postprocessing.json").read_text(encoding="utf-8"))
    assert {name: choice["operations"] for name, choice in stored["classes"].items()} == chosen
    assert set(chosen) == {"soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis"}
    assert not any(chosen.values())
    why = "post-processing: none (1 validation case cannot tell a gain from chance; 5 are needed)\n"
    assert err.count(why) == 1
    evaluate.main(["leg", "--json"])
    out, err = capsys.readouterr()
    assert last_json(out)["postprocessing"] == chosen
    assert err.count(why) == 1
    evaluate.main(["leg", "evaluation.postprocessing=none", "--json"])
    assert report(capsys)["postprocessing"] == {}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Scans of another leg in several formats, and one that is none."""
    made = tmp_path_factory.mktemp("scans")
    folder = made / "scans"
    for extension in ("nii.gz", "mha"):
        phantom.main(["--out", str(made / extension), "--shape", "20", "24", "28", "--format", extension])
    folder.mkdir()
    nii = nib.load(made / "nii.gz" / "images" / "leg_001.nii.gz")
    rotation = np.array([[0.8, -0.6, 0, 9], [0.6, 0.8, 0, -7], [0, 0, 1, 5], [0, 0, 0, 1]])
    flipped = nii.as_reoriented([[2, -1], [0, 1], [1, -1]])
    nib.save(nib.Nifti1Image(np.asarray(flipped.dataobj), rotation @ flipped.affine), folder / "oblique.nii.gz")
    image = sitk.ReadImage(str(made / "mha" / "images" / "leg_001.mha"))
    sitk.WriteImage(image, str(folder / "leg.mha"))
    sitk.WriteImage(image, str(folder / "leg.nrrd"))
    (folder / "broken.nii.gz").write_bytes(b"not a volume")
    return folder


def test_predictions_overlay_their_scans_and_a_bad_file_stops_no_other(scans, tmp_path, capsys):
    with pytest.raises(InputError, match=r"1 of 4 inputs failed: .*broken\.nii\.gz"):
        predict.main(["leg", str(scans), "--out", str(tmp_path), "--json"])
    done = report(capsys)
    assert sorted(Path(path).name for path in done["written"]) == ["leg.mha", "leg.nrrd", "oblique.nii.gz"]
    for name in ("leg.mha", "leg.nrrd"):
        scan, labels = (sitk.ReadImage(str(folder / name)) for folder in (scans, tmp_path))
        assert labels.GetSize() == scan.GetSize()
        for corner in np.ndindex(2, 2, 2):
            index = [int(c * (n - 1)) for c, n in zip(corner, scan.GetSize(), strict=True)]
            there, here = (volume.TransformIndexToPhysicalPoint(index) for volume in (scan, labels))
            np.testing.assert_allclose(here, there, atol=1e-3)
        assert set(np.unique(sitk.GetArrayViewFromImage(labels))) <= {0, 100, 150, 200}
    scan, labels = (nib.load(folder / "oblique.nii.gz") for folder in (scans, tmp_path))
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)


def test_the_voxel_order_of_a_file_does_not_change_its_segmentation(scans, tmp_path):
    straight = scans.parent / "nii.gz" / "images" / "leg_001.nii.gz"
    predict.main(["leg", str(straight), str(scans / "oblique.nii.gz"), "--out", str(tmp_path)])
    one, other = (nib.as_closest_canonical(nib.load(tmp_path / name)) for name in ("leg_001.nii.gz", "oblique.nii.gz"))
    assert len(np.unique(np.asarray(one.dataobj))) > 1
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))


def test_folds_with_one_model_predict_as_the_model_does(scans, tmp_path):
    for fold in ("fold-1", "fold-2"):
        shutil.copytree("saved_models/leg", f"saved_models/twice/{fold}")
    for name in ("leg", "twice"):
        changes = ["evaluation.postprocessing=none", "evaluation.flip_axes=['z']"]
        predict.main([name, str(scans / "leg.mha"), "--out", str(tmp_path / name), *changes])
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name / "leg.mha"))) for name in ("leg", "twice"))
    assert len(np.unique(one)) > 1
    np.testing.assert_array_equal(one, other)


def test_a_run_in_one_file_is_used_as_the_run_is(scans, tmp_path, capsys):
    evaluate.main(["leg", "--split", "val"])
    export.main(["leg", "--format", "package", "--json"])
    package = Path(report(capsys)["path"])
    assert package == Path("saved_models/leg/leg.kseg")
    passed_on = shutil.copy(package, tmp_path / "from-a-stranger.kseg")
    predict.main(["leg", str(scans / "leg.mha"), "--out", str(tmp_path / "run")])
    shutil.move("saved_models/leg", tmp_path / "gone")
    capsys.readouterr()
    predict.main([str(passed_on), str(scans / "leg.mha"), "--out", str(tmp_path / "package"), "--json"])
    assert report(capsys)["run"] == str(passed_on)
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / of / "leg.mha"))) for of in ("run", "package"))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match=r"stranger\.kseg' is a package, without an engine: .*stranger\.kseg --format"):
        predict.main([str(passed_on), str(scans / "leg.mha"), "--out", str(tmp_path / "engine"), "--engine"])
    train.main(["leg.toml", "name=next", f"train.start_from={passed_on}", "train.epochs=1"])
    assert "with the weights of run" in capsys.readouterr().err
    assert not Path("saved_models/leg").exists()
    export.main([str(passed_on), "--format", "onnx"])
    assert Path("saved_models/leg/model.onnx").is_file()
    evaluate.main(["leg"])
    assert as_run(str(passed_on)) == "leg"
    assert "is unpacked in 'saved_models/leg' already" in capsys.readouterr().err
    export.main(["leg", "--format", "package"])
    export.main(["leg", "--format", "package"])  # again, over what kseg wrote there


def test_predict_refuses_to_overwrite(scans, tmp_path):
    words = ["leg", str(scans / "leg.mha"), "--out", str(tmp_path)]
    predict.main(words)
    before = (tmp_path / "leg.mha").stat().st_mtime_ns
    with pytest.raises(InputError, match="exists already: pass --force"):
        predict.main(words)
    assert (tmp_path / "leg.mha").stat().st_mtime_ns == before
    predict.main([*words, "--force"])
    assert (tmp_path / "leg.mha").stat().st_mtime_ns > before


def test_export_serves_the_label_maps_of_predict(served_leg, scans, tmp_path):
    assert last_json(served_leg[1])["path"] == str(Path("saved_models/leg/2"))
    predict.main(["leg", str(scans / "leg.mha"), "--out", str(tmp_path), "evaluation.flip_axes=['z']"])
    scan, expected = read_volume(scans / "leg.mha"), read_volume(tmp_path / "leg.mha")
    assert scan.array.dtype == np.uint8
    served = tf.saved_model.load("saved_models/leg/2").signatures["segment_uint8"]
    voxels, spacing_mm = (
        tf.constant(scan.array[np.newaxis, ..., np.newaxis]),
        tf.constant([scan.spacing_mm], tf.float32),
    )
    labels = served(voxels=voxels, spacing_mm=spacing_mm)["labels"].numpy()[0]
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, expected.array)


def test_export_says_what_it_wrote(served_leg):
    facts = json.loads(Path("saved_models/leg/2/assets.extra/kseg.json").read_text(encoding="utf-8"))
    assert facts["labels"]["soleus"] == 100
    assert (facts["patch_size"], facts["spacing_mm"], facts["flip_axes"]) == ([16, 16, 16], [], ["z"])
    assert facts["versions"]["tensorflow"] == tf.__version__
    card = Path("saved_models/leg/MODEL_CARD.md").read_text(encoding="utf-8")
    summary = json.loads(Path("saved_models/leg/evaluation/test.json").read_text(encoding="utf-8"))["summary"]
    dice = f"{summary['foreground']['dice']['mean']:.3f}"
    lines = card.splitlines()
    assert lines[0] == "# leg, version 2"
    for line in ("Licence: CC0 1.0", "| train | 2 | 2 |", "| test | 1 | 1 |"):
        assert line in lines
    assert any(line.startswith(f"| all classes | {dice} |") for line in lines)
    assert "100 soleus" in card
    assert {"models.config", "batching.config"} <= {path.name for path in Path("saved_models/leg").iterdir()}


def test_a_card_that_was_written_on_is_not_replaced(served_leg, monkeypatch):
    card = Path("saved_models/leg/MODEL_CARD.md")
    as_written = card.read_bytes()
    card.write_bytes(as_written + b"Not for diagnosis.\n")
    monkeypatch.setattr(export, "start_tensorflow", lambda: pytest.fail("the work has begun"))
    with pytest.raises(InputError, match=r"MODEL_CARD\.md' is there, and is not as kseg wrote it: move it away"):
        export.main(["leg"])
    with pytest.raises(InputError, match=r"holds 'MODEL_CARD\.md', which is not as kseg wrote it"):
        check_replaceable(card.parent, RUN)
    assert card.read_bytes() == as_written + b"Not for diagnosis.\n"


def test_all_that_the_commands_left_in_the_run_may_be_replaced_with_it(served_leg):
    """The table of a run's files knows what each command writes."""
    folder = Path("saved_models/leg")
    assert {"2", "evaluation", "postprocessing.json", "MODEL_CARD.md"} <= {path.name for path in folder.iterdir()}
    check_replaceable(folder, RUN)
    check_replaceable(Path("tfrecords/leg"), DATASET)
