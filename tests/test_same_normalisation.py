"""One normalisation: what training sees, prediction and the SavedModel see too, on whichever scale."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.serving.pipeline import Pipeline
from kseg.deployment.serving.served_model import ServedModel
from kseg.deployment.tensor_names import PATCH
from kseg.inference.load_network import KerasNetwork
from kseg.inference.segment_volumes import volume_segmenter
from kseg.patches.patch_source import PatchSource
from kseg.recipe.load import dump_recipe, load_recipe
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Normalisation
from kseg.records.manifest import Manifest
from kseg.records.scans import ScanList, scan_in_memory
from kseg.records.write import write_dataset
from kseg.runs.data_description import DataDescription
from kseg.runs.planned_recipe import scales_of
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import open_trained
from kseg.training.start_run import compiled_model
from kseg.volumes.intensity_normalisation import Scale
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

SIZE = (8, 9, 10)
CHANNELS = ("CT", "MR")
LABELS = LabelMap(("background", "organ"), (0, 1))


def voxels(number: int) -> np.ndarray:
    """Two channels; the second is a thousand times wider in some cases."""
    rng = np.random.default_rng(number)
    image = rng.normal(40, 300, (*SIZE, 2)) * (1, 1000 ** (number % 2))
    return image.astype(np.float32)


def load(number: int) -> tuple[Volume, np.ndarray]:
    geometry = StoredGeometry(SIZE, np.eye(4), ".nii.gz")
    labels = np.random.default_rng(number).integers(0, 2, SIZE).astype(np.uint8)
    return Volume(voxels(number), np.eye(4), geometry), labels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Manifest]:
    folder = tmp_path_factory.mktemp("normalisation") / "records"
    scans = tuple(scan_in_memory(f"case_{n}", f"case_{n}", "val" if n == 3 else "train", *load(n)) for n in range(4))
    options = [f"data.records={folder}", f"patches.size={list(SIZE)}", "patches.batch_size=1", "network.filters=[2]"]
    recipe = load_recipe(None, [*options, "patches.foreground_oversampling=0", "network.dilation_rates=[1]"])
    return recipe, write_dataset(recipe, ScanList(CHANNELS, LABELS, scans))


def test_ct_keeps_its_unit_and_other_channels_their_own_range(prepared: tuple[Recipe, Manifest]) -> None:
    recipe, manifest = prepared
    assert manifest.plan.normalisation == ("ct", "zscore")
    low, high, mean, std = manifest.plan.foreground[0]
    image = training_patch(recipe, manifest, scales_of(("ct", "zscore"), manifest.plan))
    np.testing.assert_allclose(image[..., 0], (voxels(3)[..., 0].clip(low, high) - mean) / std, atol=1e-4)
    assert abs(image[..., 1].mean()) < 1e-3
    assert image[..., 1].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kinds", [("zscore", "zscore"), ("ct", "zscore"), ("ct", "ct"), ("log", "ct")])
def test_training_prediction_and_saved_model_agree(
    kinds: tuple[Normalisation, ...],
    prepared: tuple[Recipe, Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, manifest = prepared
    scales = scales_of(kinds, manifest.plan)
    trained = training_patch(recipe, manifest, scales)
    description = DataDescription(channels=CHANNELS, labels=LABELS.to_json(), scales=scales)
    model = compiled_model(recipe, description)
    folder = RunFolder(tmp_path / "run")
    folder.create(dump_recipe(recipe), description)
    model.save(folder.model)
    seen: list[np.ndarray] = []

    def predict_and_keep(network: KerasNetwork, batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return model.network(batch).numpy()

    monkeypatch.setattr(KerasNetwork, "__call__", predict_and_keep)
    volume_segmenter(open_trained(str(folder.path)))(voxels(3), iter)
    np.testing.assert_allclose(seen[0][0], trained, atol=1e-4)

    run = open_trained(str(folder.path))
    signature = ServedModel([model.network], Pipeline.of(run, None)).signature(PATCH)
    served = signature(voxels=tf.constant(voxels(3)[np.newaxis]))
    np.testing.assert_allclose(served["probabilities"][0], model.network(trained[np.newaxis])[0], atol=1e-4)


def training_patch(recipe: Recipe, manifest: Manifest, scales: tuple[Scale, ...]) -> np.ndarray:
    """What training sees of case 3, whose volume is one patch."""
    source = PatchSource(recipe.records_folder, manifest, "val", recipe.patches, recipe.seed, scales)
    ((image, _),) = source.batches(range(1))
    return image[0].numpy()
