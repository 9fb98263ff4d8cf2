"""The patches on which another form of a model is compared with the Keras model before it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kseg.console.errors import InputError
from kseg.inference.ensemble import Predict
from kseg.nn.segmenter import Segmenter
from kseg.patches.file_systems import open_file_system
from kseg.patches.patch_source import PatchSource
from kseg.recipe.sections import Recipe
from kseg.recipe.types import EVALUATED, SPLITS
from kseg.records.manifest import load_manifest
from kseg.runs.data_description import DataDescription

PATCHES = 4


@dataclass(frozen=True)
class CheckPatches:
    """Normalised `patches`, float32 `(patches, x, y, z, channels)`, and a few words on where they come from."""

    patches: np.ndarray
    origin: str

    def batches(self, any_size: bool = False) -> list[np.ndarray]:
        """Return the patches as batches of one; for what takes any size with one cut so that pooling divides none."""
        batches = [patch[np.newaxis] for patch in self.patches]
        if any_size:
            lengths = enumerate(self.patches.shape[1:4], start=1)
            x, y, z = (slice(min(cut, length - 1), None) for cut, length in lengths)
            batches.append(batches[0][:, x, y, z])
        return batches


def draw_check_patches(recipe: Recipe, description: DataDescription) -> CheckPatches:
    """Return patches of the run's prepared dataset, or of noise where that is not there any more."""
    folder, options = recipe.records_folder, recipe.patches.model_copy(update={"batch_size": PATCHES})
    try:
        manifest = load_manifest(folder)
        if len(manifest.channels) != len(description.channels):
            raise InputError(f"'{folder}' has other channels than the run")
        open_file_system(folder)
    except InputError as error:
        shape = (PATCHES, *options.size, len(description.channels))
        noise = np.random.default_rng(recipe.seed).normal(size=shape).astype(np.float32)
        return CheckPatches(noise, f"noise instead of patches ({error})")
    split = next(split for split in (*EVALUATED, *SPLITS) if manifest.of_split(split))
    patches = PatchSource(folder, manifest, split, options, recipe.seed, description.scales)
    ((image, _),) = patches.batches(range(1))
    return CheckPatches(image.numpy(), f"{PATCHES} patches of '{folder}'")


def expected_probabilities(model: Segmenter, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what the Keras model makes of batches, in true float32: on the processor, since GPUs round to TF32."""
    with tf.device("CPU:0"):
        return [model.predict_on_batch(batch) for batch in batches]


def largest_difference(predict: Predict, batches: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the largest difference in a probability; infinite where one is not a number."""
    differences = [np.abs(predict(batch) - wanted).max() for batch, wanted in zip(batches, expected, strict=True)]
    return float(np.nan_to_num(max(differences, key=lambda value: (np.isnan(value), value)), nan=np.inf))
