"""Runs whose networks nobody has trained: what a form of a model must equal needs no training."""

import keras
import numpy as np
import pytest
from descriptions import described

from kseg.recipe.load import dump_recipe
from kseg.records.manifest import load_manifest
from kseg.runs.run_folder import RunFolder
from kseg.training.start_run import compiled_model
from kseg.volumes.intensity_normalisation import Scale


@pytest.fixture(scope="session")
def untrained_run_anywhere(tiny_recipe_anywhere):
    """Make the folder of a run of the tiny dataset, `saved_models/<name>`, from overrides of its recipe.

    Every weight of its network counts; its one channel is normalised as CT.
    """
    manifest = load_manifest(tiny_recipe_anywhere().records_folder)
    scales = (Scale(kind="ct", statistics=(-100, 200, 10, 50)),)

    def make(name, *overrides, seed=1):
        recipe = tiny_recipe_anywhere("network.implementation=direct", *overrides)
        description = described(manifest).model_copy(update={"scales": scales})
        folder = RunFolder(recipe.run_folder.parent / name)
        folder.create(dump_recipe(recipe), description)
        keras.utils.set_random_seed(seed)
        model = compiled_model(recipe, description)
        rng = np.random.default_rng(seed)
        for layer in model.network.layers:
            for weight in layer.weights:
                if "variance" in weight.name:
                    weight.assign(rng.uniform(0.5, 2, weight.shape))
                elif "kernel" not in weight.name:
                    weight.assign(rng.normal(float(weight.name == "scale"), 0.3, weight.shape))
        model.save(folder.model)
        return folder

    return make


@pytest.fixture
def untrained_run(untrained_run_anywhere, tiny_recipe):
    """The same in an empty working folder."""
    return untrained_run_anywhere
