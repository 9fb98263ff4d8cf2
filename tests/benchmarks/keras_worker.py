"""A network of kseg on the backend that `KERAS_BACKEND` names, in a process that runs a step when told to.

Usage: KERAS_BACKEND=jax python keras_worker.py '{"preset": "midl2021", "implementation": "direct", "precision": "tf32",
"patch": [96, 96, 96], "batch": 1}'

Jobs, a line each: `train` and `forward`, answered by seconds; `peak`, answered by the device and its bytes.
"""

import json
import sys

import keras
import numpy as np

from kseg.benchmark.measure import seconds
from kseg.nn.networks import build_network
from kseg.nn.segmentation_loss import SegmentationLoss

LEARNING_RATE = 1e-3


def jax_jobs(network, loss, voxels, labels, options):
    """Return a training step and a forward pass, each compiled as a whole."""
    import jax

    if options["precision"] == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    variables = [*network.trainable_variables, *loss.trainable_variables]
    optimizer.build(variables)
    count = len(network.trainable_variables)

    def loss_of(trainable, other, voxels, labels):
        probabilities, other = network.stateless_call(trainable[:count], other, voxels, training=True)
        value, _ = loss.stateless_call(trainable[count:], [], labels, probabilities)
        return value, other

    @jax.jit
    def step(trainable, other, moments, voxels, labels):
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (value, other), gradients = gradient(trainable, other, voxels, labels)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return trainable, other, moments, value

    @jax.jit
    def forward(trainable, other, voxels):
        return network.stateless_call(trainable, other, voxels, training=False)[0]

    state = [
        [variable.value for variable in variables],
        [variable.value for variable in network.non_trainable_variables],
        [variable.value for variable in optimizer.variables],
    ]
    voxels, labels = jax.numpy.asarray(voxels), jax.numpy.asarray(labels)

    def train():
        *state[:], value = step(*state, voxels, labels)
        value.block_until_ready()

    def peak():
        device = jax.devices()[0]
        return {"device": device.device_kind, "peak_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use")}

    return train, lambda: forward(state[0][:count], state[1], voxels).block_until_ready(), peak


def tensorflow_jobs(network, loss, voxels, labels, options):
    """Return a training step and a forward pass as `kseg.train` and `kseg.predict` run them."""
    import tensorflow as tf

    from kseg.nn.segmenter import Segmenter

    tf.config.experimental.enable_tensor_float_32_execution(options["precision"] != "float32")
    model = Segmenter(network, loss, ["foreground"])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), jit_compile=options.get("jit", "auto"))
    voxels, labels = tf.constant(voxels), tf.constant(labels)

    def peak():
        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return {"device": "CPU", "peak_bytes": None}
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name")
        return {"device": name, "peak_bytes": tf.config.experimental.get_memory_info("GPU:0")["peak"]}

    return lambda: model.train_on_batch(voxels, labels), lambda: model.predict_on_batch(voxels), peak


def main():
    options = json.loads(sys.argv[1])
    keras.utils.set_random_seed(0)
    if options["precision"] == "bfloat16":
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    own = {"filters": options["filters"]} if "filters" in options else {}
    network = build_network(options["preset"], implementation=options["implementation"], **own)
    loss = SegmentationLoss()
    loss.build()
    rng = np.random.default_rng(0)
    voxels = rng.normal(size=(options["batch"], *options["patch"], 1)).astype("float32")
    labels = (voxels[..., 0] > 1).astype("uint8")
    make = {"jax": jax_jobs, "tensorflow": tensorflow_jobs}[keras.backend.backend()]
    train, forward, peak = make(network, loss, voxels, labels, options)
    jobs = {"train": lambda: seconds(train), "forward": lambda: seconds(forward), "peak": peak}
    for job in sys.stdin:
        print(json.dumps(jobs[job.strip()]()), flush=True)


if __name__ == "__main__":
    main()
