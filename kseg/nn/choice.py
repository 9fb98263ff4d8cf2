"""Which implementation of a convolution is faster where: what `implementation="auto"` goes by.

Measured on CPUs (see the README's results). Up-sampling decides: products at the low resolution are `ux uy uz` times
fewer. Without it reuse saves a factor of the number of rates at most, and pays with sums that go through memory. That
is worth it with many channels on few voxels; with so few channels that a map is a short sum of shifted inputs; and
wherever TensorFlow runs without oneDNN, which it uses by default on CPUs with VNNI, AMX or the like: its own gradients
of 3D convolutions are many times slower than its products.
"""

import math
import os
from collections.abc import Sequence

from keras import backend

IMPLEMENTATIONS = ("auto", "direct", "reuse")
MANY_CHANNELS = 64
MOST_TERMS = 128
"""Shifted inputs that one compiled loop may add: with more, compiling takes longer than the loop is worth."""


def check_implementation(implementation: str) -> None:
    """Raise `ValueError` for a name that is no implementation."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}. Received {implementation!r}.")


def reuses(implementation: str, kernel_shape: Sequence[int], upsample: Sequence[int] = (1, 1, 1)) -> bool:
    """Say whether a convolution reuses its multiplications: told to, or because it is faster.

    Args:
        implementation: one of `IMPLEMENTATIONS`.
        kernel_shape: `(kx, ky, kz, channels, filters)`.
        upsample: factors along x, y, z.
    """
    return implementation == "reuse" or (implementation == "auto" and _reuse_is_faster(kernel_shape, upsample))


def adds_shifted_inputs(kernel_shape: Sequence[int], upsample: Sequence[int]) -> bool:
    """Say whether reuse adds shifted inputs instead of shifted products: where there are few channels."""
    *taps, channels, filters = kernel_shape
    return channels < filters and math.prod(taps) * channels <= MOST_TERMS and max(upsample) == 1


def convolutions_are_fast() -> bool:
    """Say whether plain 3D convolutions run at the processor's speed: on a GPU, by oneDNN, or compiled by JAX."""
    if not _on_tensorflows_cpu():
        return True
    try:
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:  # not a public name: without it, ask what a user can set
        return os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    return bool(IsMklEnabled())


def _reuse_is_faster(kernel_shape: Sequence[int], upsample: Sequence[int]) -> bool:
    if max(upsample) > 1 or kernel_shape[-2] >= MANY_CHANNELS or not convolutions_are_fast():
        return True
    return adds_shifted_inputs(kernel_shape, upsample) and _on_tensorflows_cpu()


def _on_tensorflows_cpu() -> bool:
    if backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")
