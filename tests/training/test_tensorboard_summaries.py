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

CLASSES = ("soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis")


@pytest.fixture
def logs(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """TensorBoard's folder of a run of twelve epochs of two steps."""
    recipe = tiny_recipe("train.epochs=12", "train.steps_per_epoch=2", "train.validation_patches=4", "loss.prior=0.5")
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    train.main([str(path)])
    return tmp_path / "saved_models/tiny/logs"


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder: Path) -> dict[str, list[float]]:
    events = read(folder)
    return {tag: [float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def test_a_run_shows_itself_in_tensorboard(logs: Path) -> None:
    curves = scalars(logs / "train")
    wanted = ("alpha", "beta", "soft_fp", "soft_fn", "precision", "recall", "learning_rate", "step_seconds")
    for name in (*wanted, "input_wait", *(f"dice_{name}" for name in CLASSES)):
        assert len(curves[f"epoch_{name}"]) == 12
    assert all(0 <= share <= 1 for share in curves["epoch_input_wait"])
    assert all(seconds > 0 for seconds in curves["epoch_step_seconds"])
    assert {"epoch_soft_fp", "epoch_dice", "epoch_loss"} <= set(scalars(logs / "validation"))

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

    # Ten looks and one at the end; twelve epochs pass ten tenths, none but the last twice.
    pictures = board.Tensors("patch_0")
    assert len(pictures) == 11
    assert pictures[-1].step == 11
    height = int(make_ndarray(pictures[0].tensor_proto)[1])
    assert height > 300

    with (logs.parent / "precision_recall.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in CLASSES:
        last = make_ndarray(board.Tensors(f"{name}/pr_curves")[-1].tensor_proto)
        kept = [[float(row[key]) for row in rows if row["class"] == name] for key in ("true_positives", "recall")]
        np.testing.assert_allclose(last[[0, 5]], kept, atol=1e-6)
