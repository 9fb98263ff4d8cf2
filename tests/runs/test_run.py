"""What a run learns from is kept with it, and a run goes on with that alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import dump_as_before, dump_recipe, dump_unplanned
from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest, load_manifest
from kseg.runs.planned_recipe import as_begun, planned_recipe
from kseg.runs.run import Run, check_resumable, make_runs


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe]) -> Recipe:
    """Runs go to an empty working folder."""
    return tiny_recipe()


def with_split(manifest: Manifest, **splits: str) -> Manifest:
    """The manifest with subjects in other splits."""
    cases = (case.model_copy(update={"split": splits.get(case.subject, case.split)}) for case in manifest.cases)
    return manifest.model_copy(update={"cases": tuple(cases)})


def runs_of(recipe: Recipe, manifest: Manifest, folds: int = 0) -> list[Run]:
    return make_runs(planned_recipe(recipe, manifest), recipe.records_folder, manifest, folds)


def begun(recipe: Recipe, manifest: Manifest, folds: int = 0) -> list[Run]:
    """Runs whose folders are there."""
    runs = runs_of(recipe, manifest, folds)
    for run in runs:
        run.folder.create(dump_recipe(run.recipe), run.description)
    return runs


def subjects(manifest: Manifest, split: str) -> list[str]:
    return sorted(case.subject for case in manifest.of_split(split))


def test_a_run_keeps_whose_scans_it_learns_from(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    (run,) = begun(recipe, manifest)
    kept = json.loads(run.folder.data_description.read_text(encoding="utf-8"))
    learned_from = kept["learned_from"]
    assert (learned_from["train"], learned_from["val"]) == (subjects(manifest, "train"), subjects(manifest, "val"))
    assert learned_from["cases"] == {case.case: case.origin_hash for case in manifest.cases if case.split != "test"}
    assert kept["val_subjects"] == []
    assert run.folder.load_data_description() == run.description


def test_a_fold_keeps_its_own_subjects(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    everybody = subjects(manifest, "train") + subjects(manifest, "val")
    runs = begun(recipe, manifest, folds=2)
    for run in runs:
        kept = run.folder.load_data_description()
        assert kept.learned_from.val == kept.val_subjects
        assert sorted(kept.learned_from.train + kept.learned_from.val) == sorted(everybody)
    assert sorted(subject for run in runs for subject in run.description.val_subjects) == sorted(everybody)


def test_it_goes_on_with_the_same_split(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    for folds in (0, 2):
        for run in begun(recipe, manifest, folds):
            check_resumable(run)


def test_it_does_not_go_on_with_another_split(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    begun(recipe, manifest)
    (trained, *_), (tested,) = subjects(manifest, "train"), subjects(manifest, "test")
    (changed,) = runs_of(recipe, with_split(manifest, **{trained: "test", tested: "train"}))
    named = [f"subject '{trained}' was train, is test", f"subject '{tested}' was not there, or test, is train"]
    with pytest.raises(InputError, match="began with other scans, or another split, than") as caught:
        check_resumable(changed)
    assert f"({', '.join(sorted(named))})" in str(caught.value)
    assert "choose another name" in str(caught.value)
    (without,) = runs_of(recipe, with_split(manifest, **{trained: "test"}))
    with pytest.raises(InputError, match=rf"\({named[0]}\): prepare that as it was"):
        check_resumable(without)


def test_a_run_does_not_go_on_with_a_corrected_label_map(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    begun(recipe, manifest)
    first, *others = manifest.cases
    corrected = manifest.model_copy(update={"cases": (first.model_copy(update={"origin_hash": "0" * 64}), *others)})
    with pytest.raises(InputError, match=rf"\(case '{first.case}' is another now\): prepare that as it was"):
        check_resumable(*runs_of(recipe, corrected))


def test_a_fold_does_not_go_on_where_those_to_train_on_are_others(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    first, _ = begun(recipe, manifest, folds=2)
    trained = first.description.learned_from.train[0]
    now = with_split(manifest, **{trained: "test"}).with_validation(first.description.val_subjects)
    changed = Run(first.recipe, first.folder, first.records, now, first.description)
    with pytest.raises(InputError, match=f"subject '{trained}' was train, is test"):
        check_resumable(changed)


def test_a_run_of_an_earlier_version_goes_on_as_before(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    (run,) = begun(recipe, manifest)
    path = Path(run.folder.data_description)
    kept = json.loads(path.read_text(encoding="utf-8"))
    del kept["learned_from"]
    path.write_text(json.dumps(kept), encoding="utf-8")
    check_resumable(run)
    (trained, *_) = subjects(manifest, "train")
    check_resumable(*runs_of(recipe, with_split(manifest, **{trained: "test"})))  # it does not know better


def test_the_spacing_of_the_dataset_is_kept_in_the_recipe(recipe: Recipe) -> None:
    manifest = load_manifest(recipe.records_folder)
    resampled = manifest.model_copy(update={"spacing_mm": (1.0, 1.0, 2.0)})
    (run,) = begun(recipe, resampled)
    assert run.folder.load_recipe().data.spacing_mm == (1.0, 1.0, 2.0)
    earlier = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"spacing_mm": ()})})
    run.folder.recipe.write_text(dump_recipe(earlier), encoding="utf-8")  # which kept what the recipe said
    check_resumable(run)


@pytest.mark.parametrize(("loss", "before"), [("dice", True), ("parametric_tversky", False)])
def test_a_run_of_an_earlier_version_is_not_calibrated_where_it_goes_on(
    loss: str, before: bool, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe("loss.parametric_tversky=0", f"loss.{loss}=1")
    assert recipe.calibrates_volumes == before
    manifest = load_manifest(recipe.records_folder)
    (run,) = begun(recipe, manifest)
    assert run.folder.load_recipe() == run.recipe
    text = run.folder.recipe.read_text(encoding="utf-8")
    key = 'volume_calibration = "auto"\n'
    assert key in text
    run.folder.recipe.write_text(text.replace(key, ""), encoding="utf-8")
    kept = run.folder.load_recipe()
    assert (kept.train.volume_calibration, as_begun(recipe, kept).calibrates_volumes) == ("never", False)
    check_resumable(replace(run, recipe=as_begun(run.recipe.model_copy(update={"train": kept.train}), kept)))


def test_runs_of_a_sweep_are_as_before_unless_their_volumes_are_calibrated(tiny_recipe: Callable[..., Recipe]) -> None:
    def texts(*changes: str) -> list[str]:
        made = tiny_recipe(*changes)
        return [dump_unplanned(made), dump_as_before(made)]

    dice = ("loss.parametric_tversky=0", "loss.dice=1")
    for text in (*texts(), *texts("train.volume_calibration=never"), *texts(*dice, "train.volume_calibration=never")):
        assert "volume_calibration" not in text
    for text in (*texts(*dice), *texts("train.volume_calibration=always")):
        assert "volume_calibration" in text
