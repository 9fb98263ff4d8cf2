"""What a user gets wrong, and the one line that each mistake is answered with; every command exits with 2."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from damage import flip_bits
from printed import last_json
from recipes import recipe_text

from kseg import evaluate, export, phantom, predict, prepare, train
from kseg.console.command import run
from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe

TINY = recipe_text(
    "tiny",
    data={"records": "tfrecords/tiny"},
    phantom={"subjects": 3, "shape": [16, 16, 16]},
    patches={"size": [8, 8, 8]},
    train={"epochs": 1, "steps_per_epoch": 1, "validation_patches": 1},
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A working folder where all is well: recipe, prepared phantom, run, and a small dataset on disk."""
    folder = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.toml").write_text(TINY, encoding="utf-8")
        prepare.main(["tiny.toml"])
        train.main(["tiny.toml"])
        rng = np.random.default_rng(0)
        rows = ["case,subject,split,image,label"]
        for name in ("p1", "p2", "p3"):
            save(f"scans/{name}.nii.gz", rng.integers(0, 99, (8, 9, 7)).astype(np.int16))
            save(f"scans/{name}_label.nii.gz", rng.integers(0, 2, (8, 9, 7)).astype(np.uint8))
            rows.append(f"{name},{name},,scans/{name}.nii.gz,scans/{name}_label.nii.gz")
        Path("cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def save(path, array, affine=None):
    Path(path).parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def replace(path, old, new):
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def edit_json(path, change):
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    change(content)
    Path(path).write_text(json.dumps(content), encoding="utf-8")


def cut(path):
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])


P2, P2_LABEL = "scans/p2.nii.gz", "scans/p2_label.nii.gz"
CSV = ["cases.csv", "data.labels={background=0, muscle=1}"]
TRAIN = "tfrecords/tiny/leg_001.tfrecord"
MANIFEST = "tfrecords/tiny/manifest.json"
AGAIN = ["tiny.toml", "name=again"]
MODEL = "saved_models/tiny/model.keras"
CHECKPOINTS = "saved_models/tiny/checkpoints"

# What is done to the sound folder, the command, and words that its one line must hold: what, where, remedy.
MISTAKES = {
    # the recipe
    "recipe is missing": (None, train, ["tinny.toml"], ["'tinny.toml'", "does not exist", "pipelines/"]),
    "recipe is not TOML": (
        lambda: replace("tiny.toml", "epochs = 1", "epochs = = 1"), train, ["tiny.toml"], ["not valid TOML", "line"]),
    "recipe nests without end": (
        lambda: Path("tiny.toml").write_text("a = " + "[" * 100_000), train, ["tiny.toml"], ["tiny.toml", "not valid"]),
    "number without end": (None, train, ["tiny.toml", f"seed={'2' * 5000}"], ["'seed'", "whole number"]),
    "recipe is binary": (
        lambda: Path("tiny.toml").write_bytes(b"\xff\xfe\x00"), train, ["tiny.toml"], ["tiny.toml", "cannot be read"]),
    "key is misspelt": (
        lambda: replace("tiny.toml", "epochs", "epoch"), train, ["tiny.toml"], ["train.epoch", "'train.epochs'?"]),
    "value has the wrong type": (
        None, train, ["tiny.toml", "train.epochs=many"],
        ["on the command line", "'train.epochs'", "whole number", "'many'"]),
    "value is out of range": (
        None, train, ["tiny.toml", "patches.foreground_oversampling=1.5"], ["foreground_oversampling", "1.5"]),
    "patch has two axes": (
        None, train, ["tiny.toml", "patches.size=[8, 8]"], ["patches.size", "three whole numbers", "[8, 8]"]),
    "no loss is left": (
        None, train, ["tiny.toml", "loss.parametric_tversky=0", "loss.dice=0", "loss.cross_entropy=0"],
        ["'loss'", "at least one term"]),
    "name leaves the folder": (None, train, ["tiny.toml", "name=../elsewhere"], ["'name'", "../elsewhere"]),
    "pooling does not fit the depth": (
        None, train, [*AGAIN, "network.pooling=[[2, 2, 1], [2, 2, 2]]"], ["pooling", "filters"]),
    "override has dashes": (None, train, ["--train.epochs=3"], ["--train.epochs=3", "--help"]),
    "nobody is left to train": (
        None, prepare, [*CSV, "data.val_fraction=0.5", "data.test_fraction=0.49"], ["train", "data.val_fraction"]),
    # the source
    "source is missing": (None, prepare, ["nowhere"], ["nowhere"]),
    "labels have no names": (None, prepare, ["cases.csv"], ["'data.labels={background = 0, label_1 = 1}'"]),
    "manifest lacks a column": (
        lambda: replace("cases.csv", "subject,", "patient,"), prepare, CSV, ["cases.csv", "subject"]),
    "case is there twice": (lambda: replace("cases.csv", "p3,p3", "p1,p3"), prepare, CSV, ["p1"]),
    "subject is on two sides": (
        lambda: replace("cases.csv", "p1,p1,,", "p1,p2,test,") or replace("cases.csv", "p2,p2,,", "p2,p2,train,"),
        prepare, CSV, ["p2", "train", "test"]),
    "split is unknown": (lambda: replace("cases.csv", "p1,p1,,", "p1,p1,dev,"), prepare, CSV, ["dev", "val"]),
    "image is missing": (lambda: Path(P2).unlink(), prepare, CSV, ["p2"]),
    "image is cut short": (lambda: cut(P2), prepare, CSV, [P2]),
    "image is no volume": (lambda: Path(P2).write_text("hello"), prepare, CSV, [P2]),
    "image has another file type": (
        lambda: replace("cases.csv", P2, "cases.csv"), prepare, CSV, ["cases.csv", ".nii.gz"]),
    "image holds NaN": (
        lambda: save(P2, np.full((8, 9, 7), np.nan, np.float32)), prepare, CSV, [P2, "NaN"]),
    "image is empty": (lambda: save(P2, np.zeros((8, 9, 7), np.int16)), prepare, CSV, [P2, "empty"]),
    "image is flat": (lambda: save(P2, np.zeros((8, 9), np.int16)), prepare, CSV, [P2]),
    "label has another shape": (
        lambda: save(P2_LABEL, np.ones((8, 9, 6), np.uint8)), prepare, CSV, ["p2", "(8, 9, 6)", "resample"]),
    "label has another affine": (
        lambda: save(P2_LABEL, np.ones((8, 9, 7), np.uint8), np.diag([1, 1, 2, 1])), prepare, CSV, ["p2", "resample"]),
    "label value has no name": (
        lambda: save(P2_LABEL, np.full((8, 9, 7), 7, np.uint8)), prepare, CSV, ["p2", "7", "data.labels"]),
    "label is no whole number": (
        lambda: save(P2_LABEL, np.full((8, 9, 7), 0.5, np.float32)), prepare, CSV, ["p2", "0.5"]),
    "target exists, prepared otherwise": (
        None, prepare, ["tiny.toml", "data.val_fraction=0"], ["tfrecords/tiny", "was val", "--force"]),
    # the shards
    "nothing is prepared": (
        None, train, ["tiny.toml", "data.records=tfrecords/none"], ["tfrecords/none", "kseg.prepare"]),
    "manifest is not JSON": (lambda: cut(MANIFEST), train, AGAIN, [MANIFEST, "prepare the dataset again"]),
    "manifest is of another version": (
        lambda: edit_json(MANIFEST, lambda content: content.update(schema_version=99)), train, AGAIN,
        [MANIFEST, "schema_version"]),
    "manifest leaves its folder": (
        lambda: edit_json(MANIFEST, lambda content: content["cases"][0].update(file="../../x.tfrecord")), train,
        AGAIN, [MANIFEST, "cases.0.file"]),
    "shard is missing": (lambda: Path(TRAIN).unlink(), train, AGAIN, [TRAIN, "missing", "prepare"]),
    "shard is cut short": (lambda: cut(TRAIN), train, AGAIN, [TRAIN, "bytes", "prepare"]),
    "shard is damaged": (lambda: flip_bits(TRAIN), train, AGAIN, [TRAIN, "damaged", "prepare"]),
    "no case validates": (
        lambda: prepare.main(["tiny.toml", "data.records=tfrecords/noval", "data.val_fraction=0"]), train,
        [*AGAIN, "data.records=tfrecords/noval"], ["noval", "no val cases", "data.val_fraction"]),
    "scans are in a store": (
        None, prepare, ["data.source='s3://laboratory/legs'"], ["data.source", "s3://laboratory/legs", "copy it"]),
    "records are in a store that nothing reaches": (
        None, train, [*AGAIN, "data.records='tape://laboratory/legs'"], ["tape://laboratory/legs", "Unsupported"]),
    "records are a bucket": (None, train, [*AGAIN, "data.records='memory://'"], ["memory://", "names no folder"]),
    # the run's folder
    "run exists": (None, train, ["tiny.toml"], ["saved_models/tiny", "--resume", "--force"]),
    "nothing to resume": (None, train, [*AGAIN, "--resume"], ["saved_models/again", "without --resume"]),
    "resumed with another recipe": (
        None, train, ["tiny.toml", "loss.dice=1", "--resume"], ["'loss'", "saved_models/tiny", "same recipe"]),
    "no checkpoint is sound": (
        lambda: [cut(path) for path in Path(CHECKPOINTS).glob("*/model.keras")],
        train, ["tiny.toml", "train.epochs=2", "--resume"],
        ["saved_models/tiny", "checkpoint", "--force"]),
    "run is unknown": (None, evaluate, ["legs"], ["'legs'", "train it first"]),
    "run is not trained yet": (lambda: Path(MODEL).unlink(), evaluate, ["tiny"], [MODEL, "--resume"]),
    "model is damaged": (lambda: cut(MODEL), export, ["tiny"], [MODEL, "cannot be loaded"]),
    "model is none": (lambda: Path(MODEL).write_text("hello"), predict, ["tiny", P2, "--out", "out"], [MODEL]),
    "run's description is damaged": (
        lambda: cut("saved_models/tiny/data.json"), evaluate, ["tiny"], ["data.json", "train the run anew"]),
    "dataset is another": (
        lambda: prepare.main([*CSV, "data.records=tfrecords/other"]), evaluate,
        ["tiny", "--records", "tfrecords/other"], ["tfrecords/other", "channels 'image' instead of 'ultrasound'"]),
    # the command line
    "split has no cases": (
        lambda: prepare.main(["tiny.toml", "data.records=tfrecords/notest", "data.test_fraction=0"]), evaluate,
        ["tiny", "--records", "tfrecords/notest"], ["no test cases", "--split"]),
    "input is missing": (None, predict, ["tiny", "nothing.mha", "--out", "out"], ["nothing.mha"]),
    "two inputs have one name": (
        lambda: shutil.copy(P2, "scans/P2.nii.gz"), predict, ["tiny", P2, "scans/P2.nii.gz", "--out", "out"],
        ["scans/P2.nii.gz", "2 of 2 inputs failed"]),
    "split of the phantom is predicted": (
        None, predict, ["tiny", "--split", "test", "--out", "out"], ["phantom", "no files", "name scans"]),
    "a key that training settled": (
        None, predict, ["tiny", P2, "train.epochs=2", "--out", "out"], ["'train.epochs=2'", "evaluation.KEY=VALUE"]),
    "output folder is forgotten": (None, predict, ["tiny", P2], ["--out", "--help"]),
    "phantom is too difficult": (
        None, phantom, ["--out", "leg", "--difficulty", "2", "--shape", "16", "16", "16"], ["difficulty", "2"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_2(mistake, sound, tmp_path, monkeypatch, capsys):
    damage, command, words, wanted = MISTAKES[mistake]
    folder = shutil.copytree(sound, tmp_path / "work")
    monkeypatch.chdir(folder)
    if damage:
        damage()
        capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [f"kseg.{command.__name__}", *words])
    with pytest.raises(SystemExit) as stop:
        run(command.main)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"{command.__name__}: ")
    for word in wanted:
        assert word in line, f"{word!r} is not in: {line}"
    assert "Traceback" not in out + err


@pytest.mark.parametrize("lost", [False, True])
def test_a_bad_case_is_left_out_when_asked(lost, sound, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(sound, tmp_path / "work")
    monkeypatch.chdir(folder)
    if lost:
        Path(P2_LABEL).unlink()
        with pytest.raises(InputError, match="of case 'p2' is missing: add it, or drop the case"):
            prepare.main([*CSV, "data.test_fraction=0"])
    else:
        save(P2_LABEL, np.full((8, 9, 7), 7, np.uint8))
    prepare.main([*CSV, "data.test_fraction=0", "--skip-bad"])
    capsys.readouterr()
    prepare.main([*CSV, "data.test_fraction=0", "--json"])  # nothing has changed
    out, err = capsys.readouterr()
    assert last_json(out)["left_out"] == ["p2"]
    assert P2_LABEL in err
    manifest = json.loads(Path("tfrecords/cases/manifest.json").read_text(encoding="utf-8"))
    assert [entry["case"] for entry in manifest["left_out"]] == ["p2"]
    assert sorted(entry["case"] for entry in manifest["cases"]) == ["p1", "p3"]


def test_a_failed_prepare_leaves_no_dataset_and_is_gone_on_with(sound, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(sound, tmp_path / "work")
    monkeypatch.chdir(folder)
    whole = Path(P2).read_bytes()
    cut(P2)
    with pytest.raises(ValueError, match="p2"):
        prepare.main(CSV)
    assert {path.name for path in Path("tfrecords").iterdir()} == {"tiny", ".partial-cases"}
    Path(P2).write_bytes(whole)
    prepare.main(CSV)
    assert "2 of 3 cases were finished before" in capsys.readouterr().err
    assert {path.name for path in Path("tfrecords").iterdir()} == {"tiny", "cases"}


def test_every_kind_of_bad_case_is_told_once_in_one_run(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(shutil.copytree(sound, tmp_path / "work"))
    names = [f"p{number}" for number in range(1, 9)]
    for name in names[3:]:
        shutil.copy("scans/p1.nii.gz", f"scans/{name}.nii.gz")
        shutil.copy("scans/p1_label.nii.gz", f"scans/{name}_label.nii.gz")
    rows = [f"{name},{name},,scans/{name}.nii.gz,scans/{name}_label.nii.gz" for name in names]
    rows[1] = "p2,p2,,scans/p2.nii.gz,"
    Path("cases.csv").write_text("\n".join(["case,subject,split,image,label", *rows]), encoding="utf-8")
    Path("scans/p3.nii.gz").unlink()
    Path("scans/p4_label.nii.gz").unlink()
    save("scans/p5_label.nii.gz", np.ones((8, 9, 6), np.uint8))
    cut("scans/p6.nii.gz")
    save("scans/p7_label.nii.gz", np.arange(504).reshape(8, 9, 7).astype(np.uint8) % 12)
    save("scans/p8_label.nii.gz", np.full((8, 9, 7), 200, np.uint8))
    with pytest.raises(InputError) as caught:
        prepare.main(CSV)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bad case ")]
    assert sorted(line.split(":")[0] for line in told) == [f"bad case {name}" for name in names[1:]]
    words = ["must fill `label`", "missing", "missing", "shape", "cut", "values 2, 3, 4, 5, 6 and 5 more", "200"]
    for name, word in zip(names[1:], words, strict=True):
        assert any(line.startswith(f"bad case {name}: ") and word in line for line in told), name
    assert str(caught.value).startswith("7 of 8 cases are bad, listed above: correct them; to name all values: ")
    named = [f"label_{value} = {value}" for value in (*range(2, 12), 200)]
    assert f"'data.labels={{background = 0, muscle = 1, {', '.join(named)}}}' on the command" in str(caught.value)
    assert "labels = {background = 0, " in str(caught.value)
    assert str(caught.value).endswith("; or leave them out with --skip-bad")
    assert not Path("tfrecords/cases").exists()
    with pytest.raises(InputError, match=r"no scan of 'cases.csv' is left to train on"):
        prepare.main([*CSV, "data.val_fraction=0.5", "--skip-bad"])
    capsys.readouterr()
    prepare.main([*CSV, "data.test_fraction=0", "data.val_fraction=0", "--skip-bad"])
    err = capsys.readouterr().err
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("left out ")].count("left out p3") == 1
    assert err.count("left out p") == 7
    assert "prepared tfrecords/cases: 1 train, 0 val, 0 test, 7 left out" in err


def test_the_labels_to_paste_work_in_a_shell_and_in_a_recipe(sound, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(sound, tmp_path / "work"))
    save(P2_LABEL, np.arange(504).reshape(8, 9, 7).astype(np.int16) % 3 - 1)
    for words, known in ((CSV, "muscle"), (["cases.csv"], "label_1")):
        with pytest.raises(InputError) as caught:
            prepare.main(words)
        (pasted,) = re.findall(r"'data\.labels=.*?}'", str(caught.value))
        (table,) = re.findall(r"or (labels = {.*?})", str(caught.value))
        (word,) = subprocess.check_output(["bash", "-c", f"printf '%s\\n' {pasted}"], text=True).splitlines()
        wanted = {"background": 0, known: 1, "label_minus_1": -1}
        assert load_recipe(None, [word]).data.labels == wanted
        Path("pasted.toml").write_text(f"[data]\n{table}\n", encoding="utf-8")
        assert load_recipe(Path("pasted.toml")).data.labels == wanted
    prepare.main(["cases.csv", word])
