"""Runs that start from a trained one: what they take over, what stays new, and what they say of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from recipes import recipe_text

from kseg import evaluate, prepare, train
from kseg.console.errors import InputError
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder

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
