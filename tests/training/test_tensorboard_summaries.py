"""What TensorBoard is given: read back from the event files as TensorBoard itself reads them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from kseg import train
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest

CLASSES = ("soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis")


@pytest.fixture(scope="module")
def logs(tiny_recipe_anywhere: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TensorBoard's folder of a run of twelve epochs of two steps; not to change."""
    folder = tmp_path_factory.mktemp("logs")
    changes = ("train.epochs=12", "train.steps_per_epoch=2", "train.validation_patches=4", "loss.prior=0.5")
    (folder / "recipe.toml").write_text(dump_recipe(tiny_recipe_anywhere(*changes)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.main(["recipe.toml"])
    return folder / "saved_models/tiny/logs"


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder: Path) -> dict[str, list[float]]:
    events = read(folder)
    return {tag: [float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def steps(folder: Path) -> dict[str, list[int]]:
    events = read(folder)
    return {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def test_curves_begin_with_dice_and_loss_and_count_epochs_from_one(logs: Path) -> None:
    curves = scalars(logs / "train")
    assert sorted(curves)[:5] == ["Dice", *sorted(f"Dice/{name}" for name in CLASSES), "Loss"]
    errors = ("false positives per foreground voxel", "false negatives per foreground voxel")
    assert {f"Soft errors/{name}" for name in errors} < curves.keys()
    assert {"Precision and recall/precision", "Precision and recall/recall"} < curves.keys()
    assert all(0 <= share <= 1 for share in curves["Training/share of a step spent waiting for patches"])
    assert all(seconds > 0 for seconds in curves["Training/seconds of a step"])
    assert {"Dice", "Dice/soleus", "Loss"} <= set(scalars(logs / "validation"))
    for folder in ("train", "validation", "alpha", "beta"):
        assert set(map(tuple, steps(logs / folder).values())) == {tuple(range(1, 13))}

    with (logs.parent / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(curves["Dice"], [float(row["dice"]) for row in rows], rtol=1e-5)
    np.testing.assert_allclose(
        scalars(logs / "validation")["Loss"], [float(row["val_loss"]) for row in rows], rtol=1e-5
    )


def test_alpha_and_beta_share_a_chart(logs: Path) -> None:
    alpha, beta = (scalars(logs / name) for name in ("alpha", "beta"))
    assert alpha.keys() == beta.keys() == {"Tversky penalties"}
    np.testing.assert_allclose(np.add(alpha["Tversky penalties"], beta["Tversky penalties"]), 1, atol=1e-6)
    assert max(scalars(logs / "train")) < "Tversky penalties", "it stands behind the other curves"


def test_a_run_shows_its_recipe_and_plain_hyperparameters(logs: Path) -> None:
    board = read(logs)
    shown = make_ndarray(board.Tensors("recipe")[0].tensor_proto)
    text = shown.item().decode().removeprefix("```toml\n").removesuffix("\n```")
    saved = logs.parent / "recipe.toml"
    assert text == saved.read_text(encoding="utf-8")
    assert load_recipe(saved).loss.prior == 0.5

    metadata = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(metadata).session_start_info
    assert session.hparams["loss.prior"].number_value == 0.5
    assert session.hparams["network.preset"].string_value == "midl2021"
    assert session.hparams["patches.size"].string_value == "[16, 16, 16]"


def test_a_run_is_looked_at_ten_times_and_at_its_end(logs: Path) -> None:
    board = read(logs)
    drawn = sorted(tag for tag in board.Tags()["tensors"] if tag.startswith("Validation patches/"))
    cases = [
        case.case for case in load_manifest(load_recipe(logs.parent / "recipe.toml").records_folder).of_split("val")
    ]
    assert drawn == [f"Validation patches/{case}" for case in cases]
    # Twelve epochs pass ten tenths, none but the last twice.
    pictures = board.Tensors(drawn[0])
    assert len(pictures) == 11
    assert [pictures[0].step, pictures[-1].step] == [1, 12]
    width, height = (int(size) for size in make_ndarray(pictures[0].tensor_proto)[:2])
    assert 300 < height < 900
    assert 300 < width < 1200

    with (logs.parent / "precision_recall.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in CLASSES:
        curves = board.Tensors(f"{name}/pr_curves")
        assert curves[-1].step == 12
        last = make_ndarray(curves[-1].tensor_proto)
        kept = [[float(row[key]) for row in rows if row["class"] == name] for key in ("true_positives", "recall")]
        np.testing.assert_allclose(last[[0, 5]], kept, atol=1e-6)
