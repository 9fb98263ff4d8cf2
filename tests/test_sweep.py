"""`kseg.sweep`: a grid of real runs in processes of their own; what is finished is not done again."""

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kseg import sweep
from kseg.console.errors import InputError
from kseg.recipe.sweep import load_sweep
from kseg.runs.run_folder import RunFolder
from kseg.sweeps.commands import Commands
from kseg.sweeps.run_scores import origin, origin_of_before

SHARED, LEARNED = (Path("saved_models/study") / kernel / "seed-1" for kernel in ("shared", "learned"))


@pytest.fixture
def study(finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in; returns the folder of the runs."""
    monkeypatch.chdir(shutil.copytree(finished_study, tmp_path / "work"))
    return Path("saved_models/study")


def test_the_table_has_what_each_run_reported(study: Path) -> None:
    rows = {row["choice"]: row for row in csv.DictReader((study / "grid.csv").open(encoding="utf-8"))}
    assert list(rows) == ["shared", "learned"]
    for folder, row in ((SHARED, rows["shared"]), (LEARNED, rows["learned"])):
        scored = json.loads((folder / "evaluation" / "test.json").read_text(encoding="utf-8"))["summary"]
        assert float(row["test_dice"]) == scored["foreground"]["dice"]["mean"]
        for name, measures in scored["classes"].items():
            assert float(row[f"test_dice_{name}"]) == measures["dice"]["mean"]
        assert int(row["epochs"]) == 2
    assert int(rows["learned"]["parameters"]) > int(rows["shared"]["parameters"])
    assert (study / "grid.md").read_text(encoding="utf-8").splitlines()[2].startswith("| shared | 1 |")


def test_finished_runs_are_not_done_again_and_missing_ones_go_on(study: Path) -> None:
    before = (study / "grid.csv").read_bytes()
    stamps = [(folder / "model.keras").stat().st_mtime_ns for folder in (SHARED, LEARNED)]
    (LEARNED / "cell.json").unlink()  # killed before it was scored
    (study / "grid.csv").unlink()
    sweep.main(["study.toml"])
    assert (study / "grid.csv").read_bytes() == before
    assert [(folder / "model.keras").stat().st_mtime_ns for folder in (SHARED, LEARNED)] == stamps


def test_a_run_made_from_another_recipe_is_not_taken_for_this_one(study: Path) -> None:
    with pytest.raises(InputError, match="another recipe or dataset"):
        sweep.main(["study.toml", "train.learning_rate=0.1"])


def test_a_run_that_fails_is_named_and_the_others_are_kept(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("study.toml").read_text(encoding="utf-8")
    Path("study.toml").write_text(text + 'broken = ["network.pooling=[[2, 2, 2], [2, 2, 2]]"]\n', encoding="utf-8")
    with pytest.raises(InputError, match="1 of 3 runs failed, study/broken/seed-1"):
        sweep.main(["study.toml"])
    assert "`pooling` must have one entry per level" in capsys.readouterr().err
    assert (SHARED / "cell.json").is_file()


def test_runs_that_differ_in_evaluation_alone_share_a_training(study: Path) -> None:
    text = Path("study.toml").read_text(encoding="utf-8")
    flipped = "flipped = [\"evaluation.flip_axes=['x']\"]\n"
    Path("study.toml").write_text(text + flipped, encoding="utf-8")
    sweep.main(["study.toml"])
    folder = study / "flipped/seed-1"
    assert (folder / "model.keras").read_bytes() == (SHARED / "model.keras").read_bytes()
    assert not (folder / "checkpoints").exists()
    assert RunFolder(folder).load_recipe().evaluation.flip_axes == ("x",)
    rows = {row["choice"]: row for row in csv.DictReader((study / "grid.csv").open(encoding="utf-8"))}
    assert list(rows) == ["shared", "learned", "flipped"]
    assert [rows[title]["epochs"] for title in ("shared", "flipped")] == ["2", "2"]
    assert rows["flipped"]["test_dice"] != rows["shared"]["test_dice"]
    assert (SHARED / "evaluation" / "test.json").is_file()


def test_what_shares_a_training_that_failed_is_named_too(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("study.toml").read_text(encoding="utf-8")
    broken = "network.pooling=[[2, 2, 2], [2, 2, 2]]"
    added = f'broken = ["{broken}"]\nflipped = ["{broken}", "evaluation.overlap=0.1"]\n'
    Path("study.toml").write_text(text + added, encoding="utf-8")
    with pytest.raises(InputError, match="2 of 4 runs failed"):
        sweep.main(["study.toml"])
    assert (
        "study/flipped/seed-1 failed: 'study/broken/seed-1' failed, whose training it shares" in capsys.readouterr().err
    )


def test_a_command_that_outlived_its_parent_is_not_joined_by_a_second(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    holder = (
        "import fcntl, subprocess, sys; log = open(sys.argv[1], 'a'); fcntl.flock(log, fcntl.LOCK_EX);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stderr=log); print('up', flush=True);"
        "import time; time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", holder, str(log)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        parent.wait()
        with pytest.raises(InputError, match="earlier start"):
            Commands(log)("phantom", "--help")
    finally:
        os.killpg(parent.pid, signal.SIGKILL)


def test_stopping_ends_the_runs(finished_study: Path, tmp_path: Path) -> None:
    work = shutil.copytree(finished_study, tmp_path / "work")
    shutil.rmtree(work / SHARED)
    command = [sys.executable, "-m", "kseg.sweep", "study.toml", "train.epochs=100000", "name=long"]
    process = subprocess.Popen(command, cwd=work, stderr=subprocess.DEVNULL)
    log = work / "saved_models/long/shared/seed-1.log"
    while not (log.is_file() and "epoch    1" in log.read_text(encoding="utf-8")):
        assert process.poll() is None
        time.sleep(0.2)
    process.terminate()
    assert process.wait(timeout=60) == 1
    with log.open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody writes to it any more


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no table \\[grid\\]"),
        ("[grid]\nseeds = [1]", "'axes' is missing: it must be a table of names, each with a table of names"),
        ("[grid.axes.a]", "'axes.a'"),
        ("[grid.axes.a]\none = ['train.epoch=3']", "did you mean 'train.epochs'"),
        ("[grid.axes.a]\none = ['data.val_fraction=0.3']", "changes the data"),
        ("[grid]\nseeds = [-1]\n[grid.axes.a]\none = []", "'seeds': it must be a list of whole numbers from 0"),
        ("[grid.axes.a]\nx = []\nx-y = []\n[grid.axes.b]\nd = []\ny-d = []", r"x \+ y-d and x-y \+ d would be one run"),
        ("[grid.axes.a]\nx = []\nX = []", r"x and X would be one run, '.*/x/seed-1': give the choices other names"),
        ("[grid.axes.a]\n'../x' = []", "'axes.a.../x': it must be named by letters"),
        ("[grid.axes.a]\nx = []\n[grid.reference]\nsource = 's'\ndice = {y = 0.5}", "reference.: 'y' is none of x"),
        ("[grid.axes.a]\nx = []\n[grid.reference]\nsource = 's'\ndice = {x = 81}", "'reference.dice.x'"),
    ],
)
def test_a_malformed_grid_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_sweep(path)


def test_cells_are_all_combinations_and_each_has_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        'name = "g"\n[grid]\nseeds = [3, 4]\n[grid.axes.a]\nx = []\ny = ["train.epochs=7"]\n'
        '[grid.axes.b]\nu = ["loss.dice=2"]\nv = []\n',
        encoding="utf-8",
    )
    sweep = load_sweep(path, ["train.epochs=5"])
    runs = sweep.runs
    assert sweep.recipe.name == "g"
    assert [run.recipe.name for run in runs] == [
        f"g/{title}/seed-{seed}" for seed in (3, 4) for title in ("x-u", "x-v", "y-u", "y-v")
    ]
    assert [run.trainer for run in runs] == [run.recipe.name for run in runs]
    found = [(run.recipe.seed, run.recipe.train.epochs, run.recipe.loss.dice) for run in runs]
    assert found == [(3, 5, 2), (3, 5, 1), (3, 7, 2), (3, 7, 1), (4, 5, 2), (4, 5, 1), (4, 7, 2), (4, 7, 1)]


def test_a_default_that_is_given_is_not_taken_for_what_is_planned(tmp_path: Path) -> None:
    """The default of a planned key may be another value than the plan's: no flips, where the plan flips."""
    path = tmp_path / "grid.toml"
    path.write_text(
        'name = "g"\n[grid.axes.a]\nplanned = []\n'
        'no_flips = ["patches.flip_axes=[]"]\nlarge = ["patches.size=[96, 96, 96]"]\n'
        'plain_masks = ["evaluation.flip_axes=[]"]\nsame_rate = ["train.learning_rate=1e-3"]\n'
        'turned = ["augmentation.rotation_degrees=[15, 15, 15]"]\n',
        encoding="utf-8",
    )
    runs = {run.title: run for run in load_sweep(path).runs}
    trainers = {title: run.trainer.split("/")[1] for title, run in runs.items()}
    assert trainers == {
        "planned": "planned",
        "no_flips": "no_flips",
        "large": "large",
        "turned": "turned",
        "plain_masks": "planned",  # masks alone differ
        "same_rate": "planned",  # nothing plans that one
    }
    unnamed = {title: replace(run, recipe=run.recipe.model_copy(update={"name": ""})) for title, run in runs.items()}
    origins = {title: origin(run, "a dataset") for title, run in unnamed.items()}
    assert len(set(origins.values())) == 5
    assert origins["same_rate"] == origins["planned"]
    assert origin_of_before(unnamed["planned"], "a dataset", ["muscle"]) == ""  # masks were not flipped then
    assert len(origin_of_before(unnamed["planned"], "a dataset", ["left_muscle"])) == 64  # nor are they now
    assert len(origin_of_before(unnamed["plain_masks"], "a dataset", ["muscle"])) == 64
