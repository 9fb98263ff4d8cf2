"""A process of its own that holds one form of a run's model, and segments a volume of noise when it is told to.

It reads a job a line from standard input (`segment`, `windows`, `peak`) and answers each with a line of JSON: seconds,
a number of windows, or bytes. What a side does not need it does not import: its memory is its own.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kseg.benchmark.measure import peak_bytes, seconds
from kseg.benchmark.predict import ENGINE, KERAS, ONNX, RTX, SAVED_MODEL, latest_saved_model
from kseg.inference.ensemble import Predict
from kseg.inference.load_network import load_keras
from kseg.inference.sliding_window import Normalise, segment
from kseg.runs.run_folder import RunFolder
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise


def serve(side: str, run: RunFolder, shape: Sequence[int], threads: int) -> None:
    """Answer jobs until standard input ends."""
    recipe, description = run.load_recipe(), run.load_data_description()
    volume = np.random.default_rng(0).integers(0, 255, (*shape, len(description.channels))).astype(np.uint8)
    windows = 0

    def counted(patches: np.ndarray) -> np.ndarray:
        nonlocal windows
        windows += len(patches)
        return predict(patches)

    def run_through() -> float:
        nonlocal windows
        windows = 0
        return seconds(
            lambda: segment(
                counted,
                volume,
                recipe.patches.size,
                description.label_map.structures,
                overlap=recipe.evaluation.overlap,
                normalise=to_input,
                buffer_bytes=recipe.evaluation.buffer_bytes,
                batch_size=recipe.evaluation.batch_size,
            )
        )

    statistics = intensity_statistics(volume)
    to_input: Normalise = partial(normalise, statistics=statistics, scales=description.scales)
    if side == SAVED_MODEL:  # it normalises what it gets by itself
        to_input = np.asarray
    predict = _LOADERS[side](run, threads)
    jobs: dict[str, Callable[[], Any]] = {
        "segment": run_through,
        "windows": lambda: windows,
        "peak": peak_bytes,
    }
    for job in sys.stdin:
        print(json.dumps(jobs[job.strip()]()), flush=True)


def _keras(run: RunFolder, threads: int) -> Predict:
    _set_threads(threads)
    return load_keras(run)


def _saved_model(run: RunFolder, threads: int) -> Predict:
    import tensorflow as tf

    from kseg.deployment.tensor_names import PATCH, PROBABILITIES, VOXELS

    _set_threads(threads)
    signature = tf.saved_model.load(latest_saved_model(run)).signatures[PATCH]
    return lambda patches: signature(**{VOXELS: tf.constant(patches)})[PROBABILITIES].numpy()


def _onnx(run: RunFolder, threads: int) -> Predict:
    from kseg.deployment.onnx_file import open_onnx

    return open_onnx(run.onnx, threads)


def _engine(run: RunFolder, threads: int) -> Predict:
    from kseg.deployment.engine_description import TensorRTDescription
    from kseg.deployment.engine_file import open_engine_of

    return open_engine_of(TensorRTDescription, run)


def _rtx(run: RunFolder, threads: int) -> Predict:
    from kseg.deployment.engine_description import RtxDescription
    from kseg.deployment.engine_file import open_engine_of

    return open_engine_of(RtxDescription, run)


def _set_threads(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


_LOADERS: dict[str, Callable[[RunFolder, int], Predict]] = {
    KERAS: _keras,
    SAVED_MODEL: _saved_model,
    ONNX: _onnx,
    ENGINE: _engine,
    RTX: _rtx,
}


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    serve(options["side"], RunFolder(Path(options["run"])), options["shape"], options["threads"])
