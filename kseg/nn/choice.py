"""Which implementation of a convolution is faster where: what `implementation="auto"` goes by.

Measured on CPUs (see the README's results). Up-sampling decides: products at the low resolution are `ux uy uz` times
fewer. Without it reuse saves a factor of the number of rates at most, and pays with sums that go through memory. That
is worth it with many channels on few voxels; and wherever TensorFlow runs without oneDNN, which it uses by default on
CPUs with VNNI, AMX or the like: its own gradients of 3D convolutions are many times slower than its products.
"""

import os
from collections.abc import Sequence

from keras import backend

IMPLEMENTATIONS = ("auto", "direct", "reuse")
MANY_CHANNELS = 64


def check_implementation(implementation: str) -> None:
    """Raise `ValueError` for a name that is no implementation."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}. Received {implementation!r}.")


def reuses(implementation: str, channels: int, upsample: Sequence[int] = (1, 1, 1)) -> bool:
    """Say whether a convolution reuses its multiplications: told to, or because it is faster."""
    return implementation == "reuse" or (implementation == "auto" and _reuse_is_faster(channels, upsample))


def _reuse_is_faster(channels: int, upsample: Sequence[int]) -> bool:
    return max(upsample) > 1 or channels >= MANY_CHANNELS or not _convolutions_are_fast()


def _convolutions_are_fast() -> bool:
    """Say whether plain 3D convolutions run at the processor's speed: on a GPU, by oneDNN, or compiled by JAX."""
    if backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:  # not a public name: without it, ask what a user can set
        return os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    return bool(IsMklEnabled())
