"""Opening a run or the folds of one, and who segments what."""

from pathlib import Path

import numpy as np
import pytest
from descriptions import described

from kseg.console.errors import InputError
from kseg.inference.postprocessing_choice import (
    choose_operations,
    chosen_postprocessing,
    save_postprocessing,
    try_operations,
)
from kseg.inference.segment_volumes import segment_cases, volume_segmenter
from kseg.recipe.load import dump_recipe
from kseg.records.manifest import Manifest, load_manifest
from kseg.runs.data_description import DataDescription, LearnedFrom
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import open_trained
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise

DESCRIPTION = DataDescription(channels=("ultrasound",), labels={"background": 0, "soleus": 100, "gm": 150, "gl": 200})


def write_run(path: Path, recipe, description: DataDescription = DESCRIPTION, model: bytes = b"model") -> RunFolder:  # type: ignore[no-untyped-def]
    """A run's folder whose model is not one, for what does not load it."""
    folder = RunFolder(path)
    folder.create(dump_recipe(recipe), description)
    folder.model.write_bytes(model)
    return folder


def write_folds(recipe, subjects: list[list[str]]) -> None:  # type: ignore[no-untyped-def]
    for number, of_fold in enumerate(subjects, start=1):
        description = DESCRIPTION.model_copy(update={"val_subjects": tuple(of_fold)})
        write_run(Path(f"saved_models/legs/fold-{number}"), recipe, description)


def test_a_run_is_its_own_member(tiny_recipe) -> None:  # type: ignore[no-untyped-def]
    write_run(Path("saved_models/leg"), tiny_recipe())
    write_run(Path("saved_models/leg/fold-1"), tiny_recipe())  # nothing of the run's
    run = open_trained("leg")
    assert run.members == (run.folder,)
    assert run.folder.path == Path("saved_models/leg")


@pytest.mark.parametrize("name", ["legs", "saved_models/legs"])
def test_folds_are_members_in_the_order_of_their_numbers(tiny_recipe, name: str) -> None:  # type: ignore[no-untyped-def]
    write_folds(tiny_recipe(), [[str(subject)] for subject in range(11)])
    run = open_trained(name, ["evaluation.flip_axes=['x']"])
    assert run.folder.path == Path("saved_models/legs")
    assert [member.path.name for member in run.members] == [f"fold-{number}" for number in range(1, 12)]
    assert run.recipe.evaluation.flip_axes == ("x",)
    assert len(open_trained("legs/fold-2").members) == 1


def test_folds_that_do_not_make_an_ensemble_are_refused(tiny_recipe) -> None:  # type: ignore[no-untyped-def]
    write_folds(tiny_recipe(), [["a"], ["b"]])
    write_run(Path("saved_models/legs/fold-4"), tiny_recipe())
    with pytest.raises(InputError, match=r"\[1, 2, 4\].*--resume"):
        open_trained("legs")
    write_run(Path("saved_models/legs/fold-3"), tiny_recipe("patches.size=[8, 8, 8]"))
    with pytest.raises(InputError, match="'saved_models/legs/fold-3' differs from"):
        open_trained("legs")
    write_run(Path("saved_models/legs/fold-3"), tiny_recipe()).model.unlink()
    with pytest.raises(InputError, match=r"fold-3/model\.keras"):
        open_trained("legs")


def test_what_training_settled_cannot_be_changed(tiny_recipe) -> None:  # type: ignore[no-untyped-def]
    write_run(Path("saved_models/leg"), tiny_recipe())
    with pytest.raises(InputError, match=r"'patches.size=\[8,8,8\]'.*evaluation.key"):
        open_trained("leg", ["evaluation.overlap=0", "patches.size=[8,8,8]"])


def test_every_fold_validates_on_its_own_subjects_and_all_segment_the_others(tiny_recipe) -> None:  # type: ignore[no-untyped-def]
    recipe = tiny_recipe()
    manifest = load_manifest(recipe.records_folder)
    subjects = sorted({case.subject for case in manifest.cases if case.split != "test"})
    write_folds(recipe, [subjects[:2], subjects[2:]])
    run = open_trained("legs")
    shares = run.share_out(manifest, "val")
    assert [members for members, _ in shares] == [(member,) for member in run.members]
    validated = [[case.subject for case in cases.of_split("val")] for _, cases in shares]
    assert [sorted(of_fold) for of_fold in validated] == [subjects[:2], subjects[2:]]
    assert run.share_out(manifest, "test") == [(run.members, manifest)]
    ((_, cases),) = open_trained("legs/fold-2").share_out(manifest, "train")
    assert sorted(case.subject for case in cases.of_split("train")) == subjects[:2]


def in_splits(manifest: Manifest, **splits: str) -> Manifest:
    """The manifest with subjects in other splits."""
    cases = (case.model_copy(update={"split": splits.get(case.subject, case.split)}) for case in manifest.cases)
    return manifest.model_copy(update={"cases": tuple(cases)})


@pytest.fixture
def learned(tiny_recipe):  # type: ignore[no-untyped-def]
    """A run that knows whose scans it learned from, the dataset, and who trained, validated and tests."""
    recipe = tiny_recipe()
    manifest = load_manifest(recipe.records_folder)
    learned_from = LearnedFrom.of_split(manifest)
    write_run(Path("saved_models/leg"), recipe, DESCRIPTION.model_copy(update={"learned_from": learned_from}))
    tests = sorted({case.subject for case in manifest.of_split("test")})
    return open_trained("leg"), manifest, learned_from.train[0], learned_from.val[0], tests[0]


def test_the_splits_of_the_run_are_scored(learned) -> None:  # type: ignore[no-untyped-def]
    run, manifest, *_ = learned
    for split in ("train", "val", "test"):
        run.check_split(manifest, run.recipe.records_folder, split, choosing=split == "val")
    assert run.has_split_of(manifest)


def test_no_subject_that_the_run_learned_from_is_scored_as_unseen(learned) -> None:  # type: ignore[no-untyped-def]
    run, manifest, trained, validated, tested = learned
    records = run.recipe.records_folder
    for split in ("test", "val"):
        changed = in_splits(manifest, **{trained: split})
        said = (
            f"run 'saved_models/leg' was trained on subject '{trained}', in the {split} split of '{records}': prepare"
        )
        with pytest.raises(InputError, match=said):
            run.check_split(changed, records, split)
        run.check_split(changed, records, "train")
        assert not run.has_split_of(changed)
    swapped = in_splits(manifest, **{validated: "test", tested: "val"})
    with pytest.raises(InputError, match=f"chose its best model by subject '{validated}', in the test split"):
        run.check_split(swapped, records, "test")
    with pytest.raises(InputError, match=f"not validated on subject '{tested}', .*evaluation.postprocessing=none"):
        run.check_split(swapped, records, "val", choosing=True)
    run.check_split(swapped, records, "val")
    everybody = in_splits(manifest, **{case.subject: "test" for case in manifest.cases})
    with pytest.raises(InputError, match=r"was trained on subjects '[^']*', '[^']*', '[^']*', in the test split"):
        run.check_split(everybody, records, "test")


def test_another_dataset_is_scored_with_a_note_on_subjects_of_the_same_names(learned, capsys) -> None:  # type: ignore[no-untyped-def]
    run, manifest, trained, *_ = learned
    renamed = (case.model_copy(update={"subject": f"other {case.subject}"}) for case in manifest.cases)
    for split in ("val", "test"):
        run.check_split(manifest.model_copy(update={"cases": tuple(renamed)}), Path("tfrecords/others"), split)
    assert capsys.readouterr().err == ""
    run.check_split(in_splits(manifest, **{trained: "test"}), Path("tfrecords/others"), "test")
    said = capsys.readouterr().err
    assert said.startswith("note: run ")
    assert f"was trained on subject '{trained}'" in said
    assert "'tfrecords/others'" in said


@pytest.mark.parametrize("earlier", [False, True])
def test_an_ensemble_is_tested_on_nobody_from_whom_a_fold_learned(tiny_recipe, earlier: bool) -> None:  # type: ignore[no-untyped-def]
    recipe = tiny_recipe()
    manifest = load_manifest(recipe.records_folder)
    records, subjects = recipe.records_folder, sorted({one.subject for one in manifest.cases if one.split != "test"})
    for number, of_fold in enumerate((subjects[:2], subjects[2:]), start=1):
        learned_from = LearnedFrom() if earlier else LearnedFrom.of_split(manifest.with_validation(of_fold))
        values = {"val_subjects": tuple(of_fold), "learned_from": learned_from}
        write_run(Path(f"saved_models/legs/fold-{number}"), recipe, DESCRIPTION.model_copy(update=values))
    run = open_trained("legs")
    for split in ("train", "val", "test"):
        run.check_split(manifest, records, split, choosing=split == "val")
    changed = in_splits(manifest, **{subjects[0]: "test"})
    how = "chose its best model by" if earlier else "was trained on"
    with pytest.raises(InputError, match=f"run 'saved_models/legs' {how} subject '{subjects[0]}'"):
        run.check_split(changed, records, "test")
    run.check_split(changed, records, "val", choosing=True)
    assert run.has_split_of(manifest)
    assert run.has_split_of(changed) is earlier
    if not earlier:
        with pytest.raises(InputError, match=f"fold-2' was trained on subject '{subjects[0]}'"):
            open_trained("legs/fold-2").check_split(changed, records, "test")


def test_a_choice_holds_until_the_model_changes_or_the_recipe_wants_none(tiny_recipe) -> None:  # type: ignore[no-untyped-def]
    folder = write_run(Path("saved_models/leg"), tiny_recipe())
    run = open_trained("leg")
    names = ["soleus", "gm", "gl"]
    trial = {(): 0.5, ("fill_holes",): 0.6, ("largest_component",): 0.5, ("fill_holes", "largest_component"): 0.6}
    choice = choose_operations([[trial] * 3] * 5, names, run.model_hashes())
    assert chosen_postprocessing(run) is None
    save_postprocessing(choice, folder.path)
    assert chosen_postprocessing(run) == choice
    assert chosen_postprocessing(open_trained("leg", ["evaluation.postprocessing=none"])) is None
    folder.model.write_bytes(b"trained on")
    assert chosen_postprocessing(run) is None


@pytest.fixture
def two_folds(tiny_recipe):  # type: ignore[no-untyped-def]
    """Two networks with weights of their own, as folds of a run, and the networks."""
    import keras

    from kseg.training.start_run import compiled_model

    recipe = tiny_recipe("network.implementation=direct", "patches.size=[24, 24, 32]")
    manifest = load_manifest(recipe.records_folder)
    subjects = sorted({case.subject for case in manifest.cases if case.split != "test"})
    models = []
    for number, of_fold in enumerate((subjects[:2], subjects[2:]), start=1):
        description = described(manifest).model_copy(update={"val_subjects": tuple(of_fold)})
        folder = write_run(Path(f"saved_models/legs/fold-{number}"), recipe, description)
        keras.utils.set_random_seed(number)
        models.append(compiled_model(recipe, description))
        models[-1].save(folder.model)
    return models, manifest


def probabilities(model, image: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Of a volume that is one patch, without sliding window."""
    voxels = normalise(image.astype(np.float32), intensity_statistics(image))
    return model.predict_on_batch(voxels[np.newaxis])[0]


def test_an_ensemble_segments_by_the_mean_over_members_and_flips(two_folds) -> None:  # type: ignore[no-untyped-def]
    models, _ = two_folds
    image = np.random.default_rng(10).integers(0, 255, (24, 24, 32, 1)).astype(np.uint8)
    plain = sum(probabilities(model, image) for model in models)
    flipped = plain + sum(probabilities(model, image[:, ::-1])[:, ::-1] for model in models)
    together = volume_segmenter(open_trained("legs"))(image, iter)
    with_flips = volume_segmenter(open_trained("legs", ["evaluation.flip_axes=['y']"]))(image, iter)
    for labels, expected in ((together, plain), (with_flips, flipped)):
        ordered = np.sort(expected, axis=-1)
        clear = ordered[..., -1] - ordered[..., -2] > 1e-4
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(labels[clear], expected.argmax(axis=-1)[clear])
    assert (together != with_flips).any(), "the flips decide nothing: the test is too easy"


def test_postprocessing_is_chosen_by_predictions_of_folds_that_did_not_see_the_case(two_folds) -> None:  # type: ignore[no-untyped-def]
    models, manifest = two_folds
    run = open_trained("legs")
    records = run.recipe.records_folder
    fold_of = {
        subject: fold for fold, m in enumerate(run.members) for subject in m.load_data_description().val_subjects
    }
    seen, trials = [], []
    for case, labels, _ in segment_cases(run, records, manifest, "val"):
        expected = probabilities(models[fold_of[case.subject]], case.image.array).argmax(axis=-1)
        assert np.mean(labels == expected) > 0.99
        seen.append(case.subject)
        trials.append(try_operations(case.labels, labels, run.description.label_map.structures))
    assert sorted(seen) == sorted(fold_of)
    choice = choose_operations(trials, run.description.label_map.names[1:], run.model_hashes())
    assert choice.cases == len(seen)
    assert choice.models == tuple(run.model_hashes())
