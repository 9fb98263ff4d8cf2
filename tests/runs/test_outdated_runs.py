"""Runs are named that learned from what a dataset holds no more."""

from pathlib import Path

import pytest

from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.manifest import Manifest, load_manifest
from kseg.runs.data_description import LearnedFrom
from kseg.runs.outdated_runs import options_to_replace, outdated_runs
from kseg.runs.planned_recipe import planned_recipe
from kseg.runs.run import describe_data
from kseg.runs.run_folder import RunFolder


@pytest.fixture
def manifest(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The manifest of the tiny dataset, in a working folder with runs that were trained on it, and others."""
    monkeypatch.chdir(tmp_path)
    manifest = load_manifest(tiny_dataset)
    for name, records in (("a", tiny_dataset), ("folds/fold-1", tiny_dataset), ("elsewhere", Path("tfrecords/other"))):
        recipe = planned_recipe(load_recipe(None, [f"name={name}", f"data.records={records}"]), manifest)
        RunFolder(Path("saved_models", name)).create(dump_recipe(recipe), describe_data(recipe, manifest))
    recipe = load_recipe(Path("saved_models/a/recipe.toml"), ["name=early"])
    unknown = describe_data(recipe, manifest).model_copy(update={"learned_from": LearnedFrom()})
    RunFolder(Path("saved_models/early")).create(dump_recipe(recipe), unknown)
    Path("saved_models/notes").mkdir()
    Path("saved_models/notes/recipe.toml").write_text("mine = 1", encoding="utf-8")
    return manifest


def test_runs_of_the_dataset_that_learned_from_a_changed_subject(manifest: Manifest, tiny_dataset: Path) -> None:
    trained, tested = manifest.of_split("train")[0], manifest.of_split("test")[0]
    assert outdated_runs(tiny_dataset, manifest, ()) == []
    assert outdated_runs(tiny_dataset, manifest, [tested.subject]) == []
    assert outdated_runs(tiny_dataset, manifest, [trained.subject]) == ["a", "folds"]


def test_runs_whose_split_is_another_now(manifest: Manifest, tiny_dataset: Path) -> None:
    trained = manifest.of_split("train")[0]
    without = manifest.model_copy(update={"cases": tuple(case for case in manifest.cases if case != trained)})
    assert outdated_runs(tiny_dataset, without, ()) == ["a", "folds"]


def test_runs_that_learned_from_what_a_case_was_before(manifest: Manifest, tiny_dataset: Path) -> None:
    first, *others = manifest.cases
    corrected = first.model_copy(update={"origin_hash": "0" * 64})
    changed = manifest.model_copy(update={"cases": (corrected, *others)})
    assert outdated_runs(tiny_dataset, changed, ()) == ["a", "folds"]


def test_a_folder_that_cannot_be_read_as_a_run_is_none(manifest: Manifest, tiny_dataset: Path) -> None:
    trained = manifest.of_split("train")[0]
    data = Path("saved_models/a/data.json")
    data.unlink()
    data.mkdir()
    assert outdated_runs(tiny_dataset, manifest, [trained.subject]) == ["folds"]


def test_a_run_is_replaced_by_what_it_was(manifest: Manifest, tiny_dataset: Path) -> None:
    Path("saved_models/folds/fold-2").mkdir(parents=True)
    without = manifest.model_copy(update={"cases": manifest.cases[1:]})
    assert options_to_replace("a", tiny_dataset, without) == " --force"
    assert options_to_replace("folds", tiny_dataset, without) == " --folds 2 --force"
    assert options_to_replace("b", tiny_dataset, without) == ""
    assert options_to_replace("a", tiny_dataset, manifest) == ""
    Path("saved_models/a").rename("saved_models/folds/of-a-sweep")
    Path("saved_models/folds/fold-1").rename("saved_models/elsewhere/fold-1")
    assert options_to_replace("folds", tiny_dataset, without) == ""


def test_a_folder_without_runs_has_none(manifest: Manifest, tiny_dataset: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert outdated_runs(tiny_dataset, manifest, [manifest.cases[0].subject]) == []
