"""kseg.train and kseg.sweep replace runs and grids alone, and know before TensorFlow starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from refusal import TINY, link, prepared_already, refused

from kseg import sweep, train
from kseg.runs.owned_files import RUN
from kseg.storage.ownership import claim
from kseg.sweeps.run_sweep import SWEEP


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
    monkeypatch.setattr("kseg.sweeps.run_sweep.prepare", lambda *_: pytest.fail("the work has begun"))
    claim(Path("saved_models/leg"), SWEEP)
    named("leg/batch/seed-1", "thesis.txt")
    refused(sweep.main, ["tiny.toml"], r"batch/seed-1' is not a run that kseg made \(it holds 'thesis\.txt'\)")
