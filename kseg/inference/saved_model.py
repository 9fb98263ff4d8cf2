"""The SavedModel that TF Serving loads: raw voxels in, class probabilities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.console.files import whole_folder
from kseg.nn.networks import with_options
from kseg.nn.segmenter import Segmenter
from kseg.records.intensity import PERCENTILES, Scale, intensity_statistics, normalise

SIGNATURE = "serving_default"
TOLERANCE = 1e-4


def next_version(folder: Path) -> Path:
    """Return the folder of the next version: TF Serving numbers them 1, 2, ... and serves the highest."""
    versions = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return folder / str(max(versions, default=0) + 1)


def write_saved_model(model: Segmenter, path: Path, probe: np.ndarray, scales: Sequence[Scale] = ()) -> float:
    """Write `model` with the signature `serving_default`.

    It maps `voxels` `(batch, x, y, z, channels)`, float32, raw intensities of whole volumes of any size, to
    `probabilities` `(batch, x, y, z, classes)`, float32. Each volume is normalised as in training;
    the network then sees it in one piece, so that memory bounds its size.

    Args:
        model: the trained model.
        path: the version's folder.
        probe: raw voxels `(x, y, z, channels)` on which the SavedModel, loaded anew, is compared with `model`.
        scales: those of the channels (`kseg.records.intensity.normalise`).

    Returns:
        The largest difference in a probability.

    Raises:
        RuntimeError: the two differ by more than 1e-4; nothing is left at `path`.
    """
    channels = model.network.input_shape[-1]
    voxels = tf.TensorSpec((None, None, None, None, channels), tf.float32, name="voxels")

    class Served(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            # Plain operations: a server may lack XLA.
            self.network = with_options(model.network, implementation="direct")

        @tf.function(input_signature=[voxels])
        def serve(self, voxels: tf.Tensor) -> dict[str, tf.Tensor]:
            normalised = tf.map_fn(self.normalise, voxels)
            return {"probabilities": self.network(normalised, training=False)}

        def normalise(self, volume: tf.Tensor) -> tf.Tensor:
            return normalise(volume, _statistics(volume), scales, tf)

    served = Served()
    with whole_folder(path) as folder:
        tf.saved_model.save(served, str(folder), signatures={SIGNATURE: served.serve})
        difference = _difference(model, folder, probe, scales)
        if difference > TOLERANCE:
            raise RuntimeError(f"the SavedModel differs from the Keras model by {difference:.1e}: it is not kept")
    return difference


def _difference(model: Segmenter, path: Path, image: np.ndarray, scales: Sequence[Scale]) -> float:
    """Load the SavedModel anew and return its largest difference from `model` in a probability of `image`."""
    voxels = image[np.newaxis].astype(np.float32)
    normalised = normalise(voxels, intensity_statistics(image), scales)
    expected = model.predict_on_batch(normalised.astype(np.float32))
    signature = tf.saved_model.load(str(path)).signatures[SIGNATURE]
    return float(np.abs(signature(voxels=tf.constant(voxels))["probabilities"].numpy() - expected).max())


def _statistics(volume: tf.Tensor) -> tf.Tensor:
    """`intensity_statistics` as a graph: `(x, y, z, channels)` to `(channels, 4)`."""
    values = tf.sort(tf.reshape(volume, [-1, volume.shape[-1]]), axis=0)
    last_rank = tf.cast(tf.shape(values)[0] - 1, tf.float64)
    low, high = (_percentile(values, share / 100 * last_rank) for share in PERCENTILES)
    clipped = tf.clip_by_value(values, low, high)
    mean, variance = tf.nn.moments(clipped, axes=[0])
    std = tf.where(variance > 0, tf.sqrt(variance), 1.0)
    return tf.stack([low, high, mean, std], axis=1)


def _percentile(values: tf.Tensor, rank: tf.Tensor) -> Any:
    below = tf.gather(values, tf.cast(tf.floor(rank), tf.int32))
    above = tf.gather(values, tf.cast(tf.math.ceil(rank), tf.int32))
    return below + tf.cast(rank - tf.floor(rank), tf.float32) * (above - below)
