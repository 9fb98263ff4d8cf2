"""Runs that start from a trained one: what they take over, what stays new, and what they say of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from recipes import recipe_text

from kseg import evaluate, prepare, train
from kseg.console.errors import InputError
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.records.manifest import load_manifest
from kseg.runs import start_from
from kseg.runs.data_description import LearnedFrom
from kseg.runs.run_folder import RunFolder
from kseg.runs.start_from import Start, check_same_start, following, start_notes
from kseg.training.start_run import compiled_model
from kseg.training.start_weights import take_weights
from kseg.volumes.intensity_normalisation import Scale

FIRST = recipe_text(
    "first",
    phantom={"subjects": 5, "shape": [20, 20, 24]},
    data={"records": "tfrecords/legs", "val_fraction": 0.2, "test_fraction": 0.2, "spacing_mm": [0.6, 0.6, 0.8]},
    network={"preset": "midl2021", "filters": [2, 3], "dilation_rates": [1, 2]},
)
SECOND = ["one.toml", "train.start_from=first"]
ONE = recipe_text(
    "one",
    phantom={"subjects": 5, "shape": [20, 20, 24]},
    data={"records": "tfrecords/one", "classes": ["soleus"], "val_fraction": 0.2, "test_fraction": 0.2},
).replace('[network]\npreset = "midl2021"\nfilters = [\n    2,\n]\ndilation_rates = [\n    1,\n]\n', "")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of three muscles, and a dataset of one of them, prepared to start from it."""
    folder = tmp_path_factory.mktemp("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("first.toml").write_text(FIRST, encoding="utf-8")
        Path("one.toml").write_text(ONE, encoding="utf-8")
        prepare.main(["first.toml"])
        train.main(["first.toml"])
        prepare.main(SECOND)
    return folder


@pytest.fixture(autouse=True)
def _in_a_copy(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "work"))


def weights(run: str, prefix: str = "") -> dict[str, np.ndarray]:
    """Weights of a run's network by path, of the layers whose names begin with `prefix`."""
    network = RunFolder(Path("saved_models", run)).load_model().network
    return {
        weight.path.partition("/")[2] if prefix else weight.path: np.array(weight)
        for layer in network.layers
        for weight in layer.weights
        if layer.name.startswith(prefix)
    }


def test_the_recipe_leaves_the_network_out() -> None:
    assert "[network]" not in ONE


def test_what_fits_is_taken_and_said(capsys: pytest.CaptureFixture) -> None:
    train.main([*SECOND, "train.learning_rate=1e-9", "train.frozen=['encoder', 'decoder']"])
    said = capsys.readouterr().err
    assert "as in run 'first': network midl2021; normalisation " in said
    assert "4 layers with the weights of run 'first'; new: output" in said
    first, one = weights("first", "encoder"), weights("one", "encoder")
    assert first.keys() == one.keys()
    for path, values in first.items():
        np.testing.assert_array_equal(one[path], values)  # statistics of the norms too
    assert RunFolder(Path("saved_models/one")).load_recipe().network.filters == (2, 3)


def output_of(network: keras.Model) -> np.ndarray:
    """Kernel and bias of a network's output, one row for each map."""
    kernel, bias = network.get_layer("output").get_weights()
    return np.concatenate([kernel.reshape(-1, kernel.shape[-1]), bias[np.newaxis]]).T


def test_classes_in_another_order_are_put_into_this_one_and_others_are_new() -> None:
    source = RunFolder(Path("saved_models/first"))
    described, recipe = source.load_data_description(), source.load_recipe()
    names, values = list(described.labels), list(described.labels.values())
    before = output_of(source.load_model().network)
    order = [0, 3, 1, 2]
    reordered = described.model_copy(update={"labels": {names[index]: values[index] for index in order}})
    model = compiled_model(recipe, reordered, False)
    assert "output" in take_weights(model, reordered, source, "first")[0]
    np.testing.assert_array_equal(output_of(model.network), before[order])
    other = described.model_copy(update={"labels": dict(zip([*names[:3], "tibia"], values, strict=True))})
    model = compiled_model(recipe, other, False)
    drawn = output_of(model.network)
    taken, told = take_weights(model, other, source, "first")
    assert "output" not in taken
    assert told.endswith("; new: output")
    np.testing.assert_array_equal(output_of(model.network), drawn)


def test_channels_in_another_order_are_put_into_this_one() -> None:
    first = RunFolder(Path("saved_models/first"))
    recipe, described = first.load_recipe(), first.load_data_description().model_copy(update={"scales": ()})
    source = RunFolder(Path("saved_models/two"))
    described = described.model_copy(update={"channels": ("CT", "PET"), "seen": None})
    source.create(dump_recipe(recipe), described)
    before = compiled_model(recipe, described, False)
    before.save(source.model)
    swapped = described.model_copy(update={"channels": ("PET", "CT")})
    model = compiled_model(recipe, swapped, False)
    take_weights(model, swapped, source, "two")
    kernel, swapped_kernel = (one.network.get_layer("encoder_1").get_weights()[0] for one in (before, model))
    np.testing.assert_array_equal(swapped_kernel, kernel[..., ::-1, :])
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(model(voxels[..., ::-1]), before(voxels), atol=1e-6)


CT = Scale(kind="ct", statistics=(-100, 300, 60, 40))


@pytest.mark.parametrize(
    ("channels", "normalisation", "scales"),
    [
        (("PET", "CT"), ("zscore", "ct"), (Scale(), CT)),
        (("CT", "PET"), ("ct", "zscore"), (CT, Scale())),
        (("MR", "CT"), None, None),
        (("CT",), None, None),
    ],
)
def test_channels_are_normalised_as_those_of_their_names_were(
    channels: tuple[str, ...], normalisation: tuple[str, ...] | None, scales: tuple[Scale, ...] | None
) -> None:
    start = Start("two", load_recipe(None), ("CT", "PET"), (CT, Scale()), (), LearnedFrom())
    assert following(load_recipe(None), start, channels).data.normalisation == normalisation
    assert start.scales_of(channels) == scales
    own = following(load_recipe(None, ["data.normalisation=['log', 'log']"]), start, channels)
    assert own.data.normalisation == ("log", "log")


def test_own_filters_take_what_the_other_run_says_of_each_level_where_it_fits() -> None:
    by_level = ["network.pooling=[[2, 2, 1], [2, 2, 2], [2, 2, 2]]", "network.dilation_rates=[[1, 2], [1], [1]]"]
    before = load_recipe(None, ["network.filters=[4, 8, 8]", *by_level])
    start = Start("deep", before, ("US",), (), (), LearnedFrom())
    fewer = following(load_recipe(None, ["network.filters=[8, 16]"]), start, ("US",)).network
    assert fewer.overrides() == {"filters": (8, 16)}
    as_many = following(load_recipe(None, ["network.filters=[8, 16, 32]"]), start, ("US",)).network
    assert as_many.overrides() == before.network.overrides() | {"filters": (8, 16, 32)}
    flat = load_recipe(None, ["network.filters=[4, 8, 8]", "network.dilation_rates=[1, 2]"])
    kept = following(load_recipe(None, ["network.filters=[8, 16]"]), replace(start, recipe=flat), ("US",)).network
    assert kept.overrides() == {"filters": (8, 16), "dilation_rates": (1, 2)}


def test_what_is_not_frozen_learns() -> None:
    train.main([*SECOND, "train.frozen=['encoder']"])
    train.main([*SECOND, "name=all"])
    for run, part, as_before in (("one", "encoder", True), ("one", "decoder", False), ("all", "encoder", False)):
        pairs = zip(weights("first", part).values(), weights(run, part).values(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs) == as_before, (run, part)


def test_a_key_of_the_network_that_is_given_is_the_recipes(capsys: pytest.CaptureFixture) -> None:
    train.main([*SECOND, "network.dropout=0.1"])
    assert "network midl2021 but for dropout" in capsys.readouterr().err
    network = RunFolder(Path("saved_models/one")).load_recipe().network
    assert (network.filters, network.dropout) == ((2, 3), 0.1)


def test_the_spacing_is_that_of_the_run_that_is_started_from(capsys: pytest.CaptureFixture) -> None:
    assert load_manifest(Path("tfrecords/one")).spacing_mm == (0.6, 0.6, 0.8)
    prepare.main(["one.toml", "data.records=tfrecords/own"])
    capsys.readouterr()
    train.main([*SECOND, "data.records=tfrecords/own"])
    assert "the dataset has each scan's own voxels, run 'first' learned from voxels of" in capsys.readouterr().err


def test_a_run_goes_on_when_that_which_it_started_from_is_gone() -> None:
    train.main([*SECOND, "train.frozen=['encoder']"])
    before = weights("one", "encoder")
    shutil.rmtree("saved_models/first")
    train.main(["one.toml", "--resume", "train.epochs=3"])
    for path, values in weights("one", "encoder").items():
        np.testing.assert_array_equal(before[path], values)


def test_scans_that_trained_the_run_that_is_started_from_are_not_scored_as_unseen(
    capsys: pytest.CaptureFixture,
) -> None:
    prepare.main(["one.toml", "data.records=tfrecords/other", "data.test_fraction=0.5"])
    learned = {case.subject for case in load_manifest(Path("tfrecords/legs")).cases if case.split != "test"}
    tested = {case.subject for case in load_manifest(Path("tfrecords/other")).of_split("test")}
    assert tested & learned
    train.main([*SECOND, "data.records=tfrecords/other", "data.test_fraction=0.5", "name=leaky"])
    assert "who are to test here" in capsys.readouterr().err
    with pytest.raises(InputError, match="started from one that learned from scans of subject"):
        evaluate.main(["leaky"])


def test_in_folds_all_validate_and_those_who_trained_are_told_of(capsys: pytest.CaptureFixture) -> None:
    wrong = "train.frozen=['stem']"  # told after what is known of the run
    for words, are_told in (([], False), (["--folds", "2"], True)):
        with pytest.raises(InputError, match="this network has no 'stem'"):
            train.main([*SECOND, wrong, *words])
        said = " ".join(capsys.readouterr().err.split())
        trained = sorted({case.subject for case in load_manifest(Path("tfrecords/one")).of_split("train")})
        assert (f"who are to validate here: {', '.join(trained)};" in said) == are_told


def test_folds_that_have_not_begun_need_the_run_that_the_others_began_from(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(None, ["train.start_from=first"])
    begun = Start("first", recipe, ("other",), (), (), LearnedFrom(train=("p1",)))
    monkeypatch.setattr(start_from, "open_start", lambda _: replace(begun, channels=("MR",)))
    check_same_start(recipe, begun)
    monkeypatch.setattr(start_from, "open_start", lambda _: replace(begun, learned_from=LearnedFrom(train=("p2",))))
    with pytest.raises(InputError, match="'first' is not the one from which the folds that have begun started"):
        check_same_start(recipe, begun)


def test_a_run_that_still_trains_is_told_of_and_one_of_folds_names_them() -> None:
    begun = Start("first", load_recipe(None), ("image",), (), (0.6, 0.6, 0.8), LearnedFrom(train=("p1",)), True)
    manifest = load_manifest(Path("tfrecords/legs"))
    assert "run 'first' is not trained to its end yet: its best model so far is taken" in start_notes(begun, manifest)
    shutil.copytree("saved_models/first", "saved_models/several/fold-1")
    with pytest.raises(InputError, match="run 'several' has 1 fold: name one of them, as several/fold-1"):
        train.main(["one.toml", "train.start_from=several"])


def test_other_subjects_of_the_same_names_are_told_of(capsys: pytest.CaptureFixture) -> None:
    prepare.main(["one.toml", "data.records=tfrecords/other", "seed=5", "data.test_fraction=0.5"])
    train.main([*SECOND, "data.records=tfrecords/other", "data.test_fraction=0.5", "name=namesakes", "seed=5"])
    capsys.readouterr()
    evaluate.main(["namesakes"])
    assert "if these are the same people, the scores are too good" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.start_from=nobody"], "there is no run 'nobody'"),
        (["train.start_from=first", "name=first", "--force"], "first' is read, and lies in"),
        (["train.start_from=first", "train.frozen=['stem']"], "this network has no 'stem'"),
        (["train.frozen=['encoder']"], "frozen needs start_from"),
        (["train.start_from=first", "train.frozen=['head']"], "train.frozen"),
        (["train.start_from=first", "network.filters=[5]", "network.dilation_rates=[1]"], "no layer of run 'first'"),
    ],
)
def test_a_start_that_cannot_be_is_told_in_a_line_and_nothing_is_lost(changes: list[str], message: str) -> None:
    before = weights("first")
    with pytest.raises(InputError, match=message):
        train.main(["one.toml", *changes])
    for path, values in weights("first").items():
        np.testing.assert_array_equal(before[path], values)
