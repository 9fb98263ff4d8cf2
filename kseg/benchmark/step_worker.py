"""A process of its own that holds one implementation of the network, and runs a step of it when told to.

It reads a job a line from standard input (`train`, `forward`, `layers`, `peak`) and answers each with a line of JSON
on standard output: seconds, seconds by layer, or bytes. Its memory is thus its own, and two of them can take turns.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseg.benchmark.cost import dilated_layers
from kseg.benchmark.measure import peak_bytes, seconds
from kseg.nn.networks import build_network
from kseg.nn.segmentation_loss import SegmentationLoss
from kseg.nn.segmenter import Segmenter

REPEATS = 3


def serve(implementation: str, patch: tuple[int, int, int], batch: int) -> None:
    """Answer jobs until standard input ends."""
    keras.utils.set_random_seed(0)
    model = Segmenter(build_network("midl2021", implementation=implementation), SegmentationLoss(), ["foreground"])
    model.compile("adam")
    rng = np.random.default_rng(0)
    voxels = tf.constant(rng.normal(size=(batch, *patch, 1)), tf.float32)
    labels = tf.constant(rng.integers(0, 2, (batch, *patch)), tf.uint8)
    jobs: dict[str, Callable[[], Any]] = {
        "train": lambda: seconds(lambda: model.train_on_batch(voxels, labels)),
        "forward": lambda: seconds(lambda: model.predict_on_batch(voxels)),
        "layers": lambda: {
            layer.name: _layer_seconds(layer, shape) for layer, shape in dilated_layers(model.network, patch, batch)
        },
        "peak": peak_bytes,
    }
    for job in sys.stdin:
        print(json.dumps(jobs[job.strip()]()), flush=True)


def _layer_seconds(layer: keras.layers.Layer, shape: tuple[int, ...]) -> float:
    """Median time of the layer alone, value and gradients, after a first run that compiles it."""
    x = tf.random.stateless_normal(shape, (0, 0))

    @tf.function
    def step(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            maps = layer(x, training=True)
        return tape.gradient(maps, [x, *(weight.value for weight in layer.trainable_weights)])

    step(x)
    return float(np.median([seconds(lambda: step(x)) for _ in range(REPEATS)]))


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    serve(options["implementation"], tuple(options["patch"]), options["batch"])
