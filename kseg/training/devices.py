"""Which devices a step runs on, and in which precision."""

from contextlib import suppress

from kseg.console.errors import InputError


def choose_strategy(batch_size: int):  # type: ignore[no-untyped-def]
    """Return the strategy for the devices that TensorFlow sees: GPUs if there are any, else CPUs.

    Two devices or more are mirrored, each with its share of the batch; one needs no strategy of its own.

    Raises:
        InputError: the batch cannot be shared evenly.
    """
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    if batch_size % len(devices):
        raise InputError(
            f"patches.batch_size = {batch_size} cannot be shared by {len(devices)} devices: "
            f"choose a multiple of {len(devices)}"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def choose_precision(precision: str) -> str:
    """Return the name of Keras' dtype policy for a recipe's `train.precision`.

    `"auto"` is `"mixed_bfloat16"` where that is known to be faster, else `"float32"`. Weights, norms and soft sums
    are float32 in both.
    """
    from kseg.nn.processor import bfloat16_is_faster

    if precision != "auto":
        return precision
    return "mixed_bfloat16" if bfloat16_is_faster() else "float32"


def leave_gpus() -> None:
    """Let TensorFlow work on the processor alone: it would take a GPU's memory from whatever else is to use it."""
    import tensorflow as tf

    with suppress(RuntimeError):  # raised where it has taken it already
        tf.config.set_visible_devices([], "GPU")
