"""A run of two folds whose SavedModel does all that one can do: odd sizes, spacing, flips, scales, post-processing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.saved_model import Difference, write_saved_model
from kseg.deployment.serving.pipeline import Pipeline
from kseg.inference.postprocessing_choice import ClassChoice, PostProcessing
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.runs.data_description import DataDescription
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import TrainedRun, open_trained
from kseg.training.start_run import compiled_model
from kseg.volumes.intensity_normalisation import Scale

LABELS = {"background": 0, "organ": -100, "vessel": 300}
SCALES = (Scale(kind="ct", statistics=(-150.0, 250.0, 40.0, 120.0)), Scale())
RECIPE = (
    "patches.size=[8, 12, 10]",
    "network.preset=midl2021",
    "network.filters=[3, 4]",
    "network.dilation_rates=[1, 2]",
    "network.pooling=[[2, 2, 2], [1, 1, 1]]",
    "network.skip=add",
    "evaluation.overlap=0.4",
    "evaluation.batch_size=3",
    "evaluation.flip_axes=['x', 'z']",
)


class Exported(NamedTuple):
    run: TrainedRun
    pipeline: Pipeline
    path: Path
    difference: Difference
    signatures: dict[str, tf.types.experimental.ConcreteFunction]


def write_run(path: Path, folds: int, description: DataDescription) -> TrainedRun:
    """A run whose networks were never trained, but have opinions: weights of their last layer are large."""
    recipe = load_recipe(None, list(RECIPE))
    for fold in range(1, folds + 1):
        folder = RunFolder(path / f"fold-{fold}")
        folder.create(dump_recipe(recipe), description)
        keras.utils.set_random_seed(fold)
        model = compiled_model(recipe, description)
        last = next(layer for layer in reversed(model.network.layers) if layer.weights)
        kernel, bias = last.get_weights()
        rng = np.random.default_rng(fold)
        last.set_weights([rng.normal(0, 0.5, kernel.shape), rng.normal(0, 0.5, bias.shape)])
        model.save(folder.model)
    return open_trained(str(path))


@pytest.fixture(scope="session")
def exported(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Exported:
    """Not to change."""
    choices = {
        "organ": ClassChoice(operations=("fill_holes", "largest_component"), dice_before=0.5, dice_after=0.6),
        "vessel": ClassChoice(operations=("fill_holes",), dice_before=0.5, dice_after=0.6),
    }

    def pipeline_of(run: TrainedRun) -> Pipeline:
        return Pipeline.of(run, PostProcessing(cases=1, models=tuple(run.model_hashes()), classes=choices))

    def export(folder: Path) -> None:
        description = DataDescription(channels=("CT", "MR"), labels=LABELS, scales=SCALES, spacing_mm=(1.0, 0.8, 1.5))
        run = write_run(folder / "abdomen", 2, description)
        difference = write_saved_model(run, pipeline_of(run), run.folder.path / "1", "abdomen")
        numbers = [difference.shape, difference.differing_labels, difference.largest_difference]
        (folder / "difference.json").write_text(json.dumps(numbers), encoding="utf-8")

    folder = made_once("exported", export)
    run = open_trained(str(folder / "abdomen"))
    shape, *numbers = json.loads((folder / "difference.json").read_text(encoding="utf-8"))
    path = run.folder.path / "1"
    return Exported(
        run, pipeline_of(run), path, Difference(tuple(shape), *numbers), tf.saved_model.load(str(path)).signatures
    )
