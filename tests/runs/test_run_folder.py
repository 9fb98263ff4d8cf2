"""A run's folder: opened by name or path, and every way in which it is not whole told in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from damage import damaged_zips, flipped, parts_of, zip_of
from descriptions import MUSCLE

from kseg.console.errors import InputError
from kseg.deployment.saved_model import write_saved_model
from kseg.deployment.serving.pipeline import Pipeline
from kseg.inference.segment_volumes import describe_segmentation
from kseg.nn.segmenter import Segmenter
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.runs.run_folder import RunFolder, open_run
from kseg.runs.trained_run import open_trained
from kseg.training.start_run import compiled_model


@pytest.fixture(scope="module")
def written(
    tiny_recipe_anywhere: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Segmenter]:
    """Write the folder of a run whose model is as it began."""
    folder, recipe = RunFolder(tmp_path_factory.mktemp("written") / "tiny"), tiny_recipe_anywhere()
    model = compiled_model(recipe, MUSCLE)
    folder.create(dump_recipe(recipe), MUSCLE)
    model.save(folder.model)
    return folder.path, model


@pytest.fixture
def run(written: tuple[Path, Segmenter], tiny_recipe: Callable[..., Recipe]) -> tuple[RunFolder, Segmenter]:
    """The run of `written`, of which a test may change the files."""
    folder, model = written
    return RunFolder(Path(shutil.copytree(folder, tiny_recipe().run_folder))), model


def test_a_run_is_opened_by_name_and_by_path_and_comes_back(run: tuple[RunFolder, Segmenter]) -> None:
    folder, model = run
    for name in ("tiny", "saved_models/tiny", str(folder.path.resolve())):
        opened = open_run(name)
        assert opened.path.resolve() == folder.path.resolve()
        assert opened.load_data_description() == MUSCLE
        assert dump_recipe(opened.load_recipe()) == folder.recipe.read_text()
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(open_run("tiny").load_model()(voxels), model(voxels))


def test_whoever_segments_is_told_of_a_training_that_has_not_ended(run: tuple[RunFolder, Segmenter]) -> None:
    folder, _ = run
    told = (
        "by the best model so far, its training has not ended "
        f"(python -m kseg.train {folder.recipe} --resume goes on); "
    )

    def is_told() -> bool:
        return told in describe_segmentation(open_trained("tiny"), None)

    assert not is_told()  # a model from elsewhere
    folder.checkpoint(3, 5).mkdir(parents=True)
    assert is_told()
    folder.report.write_text(json.dumps({"report": {"epochs": 4}}), encoding="utf-8")
    folder.checkpoint(4).mkdir()
    assert not is_told()
    folder.checkpoint(4, 7).mkdir()  # with --resume, for longer
    assert is_told()


def test_what_mixed_precision_trained_segments_and_is_exported_in_float32(
    tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    folder = RunFolder(recipe.run_folder)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = compiled_model(recipe, MUSCLE)
    finally:
        keras.config.set_dtype_policy("float32")
    folder.create(dump_recipe(recipe), MUSCLE)
    mixed.save(folder.model)
    model = folder.load_model()
    assert {layer.compute_dtype for layer in model.network.layers} == {"float32"}
    for of_mixed, of_model in zip(mixed.network.get_weights(), model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(of_model, of_mixed)
    trained = open_trained(str(folder.path))
    difference = write_saved_model(trained, Pipeline.of(trained, None), tmp_path / "1", "mixed")
    assert difference.largest_difference < 1e-5
    assert difference.differing_labels < 1e-4


def test_what_is_missing_is_named(run: tuple[RunFolder, Segmenter]) -> None:
    folder, _ = run
    with pytest.raises(InputError, match=r"no run 'other' .*saved_models/other"):
        open_run("other")
    with pytest.raises(InputError, match=r"'my\.toml' is a recipe, not a run: give the name"):
        open_run("my.toml")
    folder.model.unlink()
    with pytest.raises(InputError, match=r"not trained yet \('saved_models/tiny/model.keras' is missing\)"):
        open_run("tiny")
    folder.data_description.unlink()
    with pytest.raises(InputError, match=r"data\.json' is missing"):
        open_run("tiny").load_data_description()
    with pytest.raises(InputError, match=r"data\.json' is missing"):
        folder.load_data_description()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"channels": [], "labels": {"background": 0, "a": 1}}', b'{"channels": ["a"]}'],
)
def test_a_contract_that_training_did_not_write_is_refused(content: bytes, run: tuple[RunFolder, Segmenter]) -> None:
    run[0].data_description.write_bytes(content)
    with pytest.raises(InputError, match=r"data\.json' is damaged"):
        run[0].load_data_description()


def test_a_contract_without_background_is_refused(run: tuple[RunFolder, Segmenter]) -> None:
    run[0].data_description.write_text(json.dumps({"channels": ["a"], "labels": {"a": 1, "b": 2}}))
    with pytest.raises(InputError, match="background"):
        run[0].load_data_description()


@pytest.mark.parametrize("change", [{"channels": ("a", "b")}, {"labels": {"background": 0, "a": 1, "b": 2}}])
def test_a_model_for_other_channels_or_labels_is_refused(change: dict, run: tuple[RunFolder, Segmenter]) -> None:
    run[0].data_description.write_text(MUSCLE.model_copy(update=change).model_dump_json())
    with pytest.raises(InputError, match=r"has 1 channel and 2 classes.*do not belong together"):
        run[0].load_model()


def test_another_model_is_refused(run: tuple[RunFolder, Segmenter]) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(run[0].model)
    with pytest.raises(InputError, match=r"is a Sequential, not one that kseg\.train wrote"):
        run[0].load_model()


def test_a_model_whose_network_is_none_for_volumes_is_refused(run: tuple[RunFolder, Segmenter]) -> None:
    folder, model = run
    for inputs in ([keras.Input((3,))], [keras.Input((8, 8, 8, 1)), keras.Input((8, 8, 8, 1))]):
        outputs = keras.layers.Add()(inputs) if len(inputs) > 1 else keras.layers.ReLU()(inputs[0])
        Segmenter(keras.Model(inputs, outputs), model.segmentation_loss, ["muscle"]).save(folder.model)
        with pytest.raises(InputError, match="axes, not one volume of 5"):
            folder.load_model()


def test_code_in_a_model_is_not_run(run: tuple[RunFolder, Segmenter]) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)]).save(run[0].model)
    with pytest.raises(InputError, match=r"model\.keras' cannot be loaded"):
        run[0].load_model()


def test_a_segmenter_without_a_network_is_refused(run: tuple[RunFolder, Segmenter]) -> None:
    path = run[0].model
    parts = parts_of(path)
    config = json.loads(parts["config.json"])
    config["config"]["network"] = None
    path.write_bytes(zip_of(parts | {"config.json": json.dumps(config).encode()}))
    with pytest.raises(InputError, match=r"model\.keras' cannot be loaded"):
        run[0].load_model()


def test_damage_anywhere_in_a_model_is_told_in_one_line(run: tuple[RunFolder, Segmenter]) -> None:
    rng = np.random.default_rng(0)
    path = run[0].model
    sound = path.read_bytes()
    contents = [b"", b"no zip", sound[:100], sound[: len(sound) // 2], sound[:-10]]
    for place in rng.integers(0, len(sound), 30):
        contents.append(flipped(sound, place, 1 << int(rng.integers(8))))
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            run[0].load_model()
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 30  # a few bits, such as those of a date, decide nothing


@pytest.mark.parametrize("damage", damaged_zips({"config.json": b"{}" * 50}))
def test_a_model_that_is_no_sound_zip_is_told_in_one_line(damage: str, run: tuple[RunFolder, Segmenter]) -> None:
    run[0].model.write_bytes(damaged_zips(parts_of(run[0].model))[damage])
    with pytest.raises(InputError, match=r"^model '[^\n]*model\.keras' cannot be loaded \([^\n]*$"):
        run[0].load_model()


def test_weights_that_are_damaged_under_a_right_checksum_are_told_in_one_line(run: tuple[RunFolder, Segmenter]) -> None:
    path = run[0].model
    parts = parts_of(path)
    damaged = parts["model.weights.h5"].replace(b"TREE", b"EERT").replace(b"SNOD", b"DONS")
    path.write_bytes(zip_of(parts | {"model.weights.h5": damaged}))
    with pytest.raises(InputError, match=r"^model '[^\n]* cannot be loaded \([^\n]*$"):
        run[0].load_model()


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 100_000])
def test_a_model_with_a_foreign_part_is_told_in_one_line(
    part: str, content: bytes | None, run: tuple[RunFolder, Segmenter]
) -> None:
    path = run[0].model
    parts = parts_of(path)
    parts.pop(part)
    if content is not None:
        parts[part] = content
    path.write_bytes(zip_of(parts))
    with pytest.raises(InputError, match=r"^model '[^\n]*$"):
        run[0].load_model()
