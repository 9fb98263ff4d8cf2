"""Which implementation of a convolution is faster where: what `implementation="auto"` goes by.

Measured on CPUs (see docs/results.md). A single rate without up-sampling has nothing to reuse: with oneDNN it is a
plain convolution. Up-sampling decides: products at the low resolution are `ux uy uz` times fewer. Where nothing
dilates, and the kernel is not so large that widening it costs more than it saves, one transposed convolution makes
them and puts them in their places (`kseg.nn.transposed_convolution`). Without up-sampling reuse saves a factor of the
number of rates at most, and pays with sums that go through memory. That is worth it with many channels on few voxels;
with so few channels that a map is a short sum of shifted inputs; and wherever TensorFlow runs without oneDNN, which it
uses by default on CPUs with VNNI, AMX or the like: its own gradients of 3D convolutions are many times slower than its
products. Where the processor multiplies bfloat16 by tiles, plain convolutions of that are so fast that sums through
memory save nothing: only the transposed convolution and the many voxels of an up-sampled output with few maps are
still cheaper by reuse.

On a GPU, and wherever XLA compiles plain convolutions (JAX), those that dilate are slow: a training step of the paper's
network took 0.26 s with them on an NVIDIA H200 and 7 ms with reuse. So several rates are reused there.
"""

import math
from collections.abc import Sequence

from keras import backend

from kseg.nn.cpu_features import bfloat16_is_faster, convolutions_are_fast, on_tensorflows_cpu

IMPLEMENTATIONS = ("auto", "direct", "reuse")
PLAIN = "plain"
"""Of exports: what is fastest without XLA, which a server may lack."""
MANY_CHANNELS = 64
MANY_CHANNELS_PLAIN = 128
"""The same without XLA, where each shift and each sum goes through memory by itself."""
FEW_FILTERS = 8
PLANES = 16
"""Channels from which on ONNX Runtime convolves planes faster than volumes: its fast convolutions take so many."""
MAX_WIDENED = 64 * 32
"""Channels times filters of a kernel that a transposed convolution widens: with more, on few voxels, it is slower."""
MAX_TERMS = 128
"""Shifted inputs that one compiled loop may add: with more, compiling takes longer than the loop is worth."""


def check_implementation(implementation: str) -> None:
    """Raise `ValueError` for a name that is no implementation."""
    if implementation not in (*IMPLEMENTATIONS, PLAIN):
        raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}. Received {implementation!r}.")


def uses_xla(implementation: str) -> bool:
    """Say whether loops may be compiled by XLA; not those of Keras' own operations, nor of exports."""
    return implementation not in ("direct", PLAIN)


def reuses(
    implementation: str,
    kernel_shape: Sequence[int],
    rates: Sequence[int],
    upsample: Sequence[int] = (1, 1, 1),
    dtype: str = "float32",
) -> bool:
    """Say whether a convolution reuses its multiplications: told to, or because it is faster.

    Args:
        implementation: one of `IMPLEMENTATIONS`, or `PLAIN`.
        kernel_shape: `(kx, ky, kz, channels, filters)`.
        rates: dilation rates.
        upsample: factors along x, y, z.
        dtype: of the maps.
    """
    if implementation == PLAIN:
        return max(upsample) > 1 or (len(rates) > 1 and kernel_shape[-2] >= MANY_CHANNELS_PLAIN)
    return implementation == "reuse" or (
        implementation == "auto" and _reuse_is_faster(kernel_shape, rates, upsample, dtype)
    )


def reuses_in_onnx(rates: Sequence[int], upsample: Sequence[int]) -> bool:
    """Say whether an ONNX graph for a processor adds shifted products; else it convolves phases, where it up-samples.

    Phases of a layer that does not dilate share one small window, but are many where factors are large.
    """
    return max(upsample) > 1 and (tuple(rates) != (1,) or max(upsample) > 2)


def convolves_planes_in_onnx(kernel_shape: Sequence[int]) -> bool:
    """Say whether an ONNX graph for a processor convolves planes, and adds neighbouring ones."""
    *_, channels, filters = kernel_shape
    return channels >= max(PLANES, filters)


def adds_shifted_inputs(kernel_shape: Sequence[int], upsample: Sequence[int]) -> bool:
    """Say whether reuse adds shifted inputs instead of shifted products: where there are few channels."""
    *taps, channels, filters = kernel_shape
    return channels < filters and math.prod(taps) * channels <= MAX_TERMS and max(upsample) == 1


def transposes(kernel_shape: Sequence[int], rates: Sequence[int], upsample: Sequence[int], dtype: str) -> bool:
    """Say whether reuse is one transposed convolution: an up-sampled layer that does not dilate, of TensorFlow."""
    *_, channels, filters = kernel_shape
    fits = max(upsample) > 1 and tuple(rates) == (1,) and filters >= FEW_FILTERS and channels * filters <= MAX_WIDENED
    if not fits or backend.backend() != "tensorflow" or not convolutions_are_fast():
        return False
    return dtype == "float32" or not on_tensorflows_cpu() or (dtype == "bfloat16" and bfloat16_is_faster())


def _reuse_is_faster(kernel_shape: Sequence[int], rates: Sequence[int], upsample: Sequence[int], dtype: str) -> bool:
    *_, channels, filters = kernel_shape
    if len(rates) > 1 and not on_tensorflows_cpu():
        return True
    if dtype == "bfloat16" and bfloat16_is_faster():
        return max(upsample) > 1 and (filters < FEW_FILTERS or transposes(kernel_shape, rates, upsample, dtype))
    if max(upsample) == 1 and len(rates) == 1 and convolutions_are_fast():
        return False
    if max(upsample) > 1 or channels >= MANY_CHANNELS or not convolutions_are_fast():
        return True
    return adds_shifted_inputs(kernel_shape, upsample) and on_tensorflows_cpu()
