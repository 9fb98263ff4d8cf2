"""What the processor under the backend does fast."""

import os
from functools import cache
from pathlib import Path

from keras import backend

PROCESSOR_DESCRIPTION = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known, and nothing assumed


def on_tensorflows_cpu() -> bool:
    """Say whether TensorFlow computes, and has no GPU."""
    if backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def convolutions_are_fast() -> bool:
    """Say whether plain 3D convolutions run at the processor's speed: on a GPU, by oneDNN, or compiled by JAX."""
    if not on_tensorflows_cpu():
        return True
    try:
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:  # not a public name: without it, ask what a user can set
        return os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    return bool(IsMklEnabled())


def bfloat16_is_faster() -> bool:
    """Say whether plain 3D convolutions of bfloat16 are several times faster: on CPUs with AMX (Xeon since 2023).

    CPUs with AVX512_BF16 alone multiply them faster too, but were not measured. Nor were GPUs.
    """
    return on_tensorflows_cpu() and convolutions_are_fast() and "amx_bf16" in _processor_flags()


@cache
def _processor_flags() -> frozenset[str]:
    try:
        lines = PROCESSOR_DESCRIPTION.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def choose_precision(precision: str) -> str:
    """Return the name of Keras' dtype policy for a recipe's `train.precision`.

    `"auto"` is `"mixed_bfloat16"` where that is known to be faster, else `"float32"`. Weights, norms and soft sums
    are float32 in both.
    """
    if precision != "auto":
        return precision
    return "mixed_bfloat16" if bfloat16_is_faster() else "float32"
