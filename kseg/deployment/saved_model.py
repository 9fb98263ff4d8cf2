"""The SavedModel that TF Serving loads, kept only if it segments as `kseg.predict` does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from kseg.deployment.serving.check_volume import check_volume
from kseg.deployment.serving.model_info import MODEL_INFO, model_info_text
from kseg.deployment.serving.pipeline import Pipeline
from kseg.deployment.serving.served_model import VOXEL_TYPES, ServedModel
from kseg.deployment.serving.warmup import write_warmup
from kseg.deployment.tensor_names import LABELS, PATCH, PROBABILITIES, SEGMENT, SPACING, VOXELS, segment_signature
from kseg.deployment.tolerances import MAX_DIFFERENCE
from kseg.inference.segment_volumes import segment_scan, volume_segmenter
from kseg.nn.segmenter import Segmenter
from kseg.runs.owned_files import SAVED_MODEL
from kseg.runs.run_folder import RunFolder
from kseg.runs.trained_run import TrainedRun
from kseg.storage.files import whole_folder
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.volume_stream import stream_of_volume

MAX_DIFFERING = 1e-4
"""Share of voxels whose label may differ: computed in another order, probabilities differ in their last digits."""
COMPARED = (SEGMENT, segment_signature("int16"))


@dataclass(frozen=True)
class Difference:
    """By how much a SavedModel differs from `kseg.predict` on a made-up volume: share of labels, and a probability."""

    shape: tuple[int, int, int]
    differing_labels: float
    largest_difference: float


def next_version(folder: RunFolder) -> Path:
    """Return the folder of the next version: TF Serving numbers them 1, 2, ... and serves the highest."""
    newest = int(folder.saved_models[-1].name) if folder.saved_models else 0
    return folder.path / str(newest + 1)


def write_saved_model(run: TrainedRun, pipeline: Pipeline, path: Path, name: str) -> Difference:
    """Write a run's SavedModel with the signatures of `kseg.deployment.serving.served_model.ServedModel`.

    Args:
        run: the trained run.
        pipeline: what `kseg.predict` does with it.
        path: the version's folder.
        name: under which it will be served.

    Returns:
        How near the SavedModel, loaded anew, is to `kseg.predict`.

    Raises:
        InputError: a model is damaged.
        RuntimeError: labels differ in more than 0.01 % of the voxels, or a probability by more than 1e-4;
            nothing is left at `path`.
    """
    models = [member.load_model() for member in run.members]
    served = ServedModel([model.network for model in models], pipeline)
    with whole_folder(path, SAVED_MODEL) as folder:
        tf.saved_model.save(served, str(folder), signatures=served.signatures())
        extra = folder / "assets.extra"
        extra.mkdir()
        (extra / MODEL_INFO).write_text(model_info_text(run, pipeline), encoding="utf-8")
        write_warmup(extra, name, pipeline)
        difference = _compare(run, folder, models, pipeline)
        if difference.differing_labels > MAX_DIFFERING or difference.largest_difference > MAX_DIFFERENCE:
            raise RuntimeError(f"the SavedModel does not segment as kseg.predict does ({difference}): it is not kept")
    return difference


def _compare(run: TrainedRun, path: Path, models: Sequence[Segmenter], pipeline: Pipeline) -> Difference:
    """Load the SavedModel anew and segment a made-up volume with it, as a file of integers and as one of floats."""
    signatures = tf.saved_model.load(str(path)).signatures
    compiled = volume_segmenter(  # however small the volume is: a reference that is computed in another way
        run, postprocessing=pipeline.postprocessing, load=lambda member: member.load_model().predict_on_batch
    )
    check = check_volume(pipeline, run.recipe.seed)
    spacing_mm = tf.constant([check.spacing_mm], tf.float32)
    differing = 0.0
    for name in COMPARED:
        voxels = check.array.astype(VOXEL_TYPES[name].as_numpy_dtype)
        scan = stream_of_volume(replace(check, array=voxels))
        expected = pipeline.label_map.to_values(segment_scan(scan, "check", compiled, pipeline.spacing_mm, iter))
        labels = signatures[name](**{VOXELS: tf.constant(voxels[np.newaxis]), SPACING: spacing_mm})[LABELS].numpy()[0]
        if labels.dtype != expected.dtype:
            raise RuntimeError(f"'{name}' returns labels of type {labels.dtype}, not {expected.dtype}: it is not kept")
        differing = max(differing, float(np.mean(labels != expected)))
    crop = check.array[tuple(slice(0, extent) for extent in pipeline.patch_size)].astype(np.float32)
    normalised = normalise(crop, intensity_statistics(crop), pipeline.scales).astype(np.float32)[np.newaxis]
    means = np.mean([model.predict_on_batch(normalised) for model in models], axis=0)
    probabilities = signatures[PATCH](**{VOXELS: tf.constant(crop[np.newaxis])})[PROBABILITIES].numpy()
    return Difference(check.shape, differing, float(np.abs(probabilities - means).max()))
