"""Layers that change a volume's size, and nothing else: padding, pooling, cropping."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from kseg.nn.cpu_features import convolutions_are_fast, on_tensorflows_cpu
from kseg.nn.implementation_choice import check_implementation
from kseg.nn.pooling import max_pool


def triple(value: int | Sequence[int], argument: str) -> tuple[int, int, int]:
    """Return `value` as one positive number per axis (x, y, z).

    Raises:
        ValueError: names `argument` and what it received.
    """
    numbers = (value,) * 3 if isinstance(value, int) else tuple(int(number) for number in value)
    if len(numbers) != 3 or min(numbers) < 1:
        raise ValueError(f"`{argument}` must be a positive integer, or three for x, y, z. Received {value!r}.")
    return numbers


@keras.saving.register_keras_serializable("kseg")
class MaxPool3D(keras.layers.MaxPooling3D):
    """Keras' 3D max pooling of whole blocks, which TensorFlow without oneDNN computes in loops of its own.

    Args:
        implementation: `"direct"`, Keras' own; `"reuse"`, the loops (`kseg.nn.pooling`); `"auto"`, the faster one.
    """

    def __init__(self, pool_size: int | Sequence[int] = 2, implementation: str = "auto", **kwargs: Any):
        super().__init__(pool_size, **{**kwargs, "strides": pool_size, "padding": "valid"})
        check_implementation(implementation)
        self.implementation = implementation

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return `x` `(batch, x, y, z, channels)`, pooled."""
        # Of float16 TensorFlow has none on CPUs.
        better = not convolutions_are_fast() or (self.compute_dtype == "float16" and on_tensorflows_cpu())
        if self.implementation == "reuse" or (self.implementation == "auto" and better):
            return max_pool(x, self.pool_size)
        return super().call(x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "implementation": self.implementation}


@keras.saving.register_keras_serializable("kseg")
class PadToMultiple(keras.layers.Layer):
    """Zero voxels at the far end of x, y, z until each size is a multiple of `multiples`, as pooling needs."""

    def __init__(self, multiples: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.multiples = triple(multiples, "multiples")

    def call(self, x: KerasTensor) -> KerasTensor:
        """Return `x` `(batch, x, y, z, channels)`, padded."""
        # Not `ops.pad`: TensorFlow's oneDNN fuses that with a convolution behind it and then forgets that one's own
        # "same" padding (2.16 to 2.21; tests/nn/test_networks.py).
        for axis, multiple in enumerate(self.multiples, start=1):
            shape = list(ops.shape(x))
            shape[axis] = -shape[axis] % multiple
            if isinstance(shape[axis], int) and not shape[axis]:
                continue
            x = ops.concatenate([x, ops.zeros(shape, x.dtype)], axis=axis)
        return x

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the padded shape."""
        batch, *sizes, channels = input_shape
        sizes = [size and size + -size % multiple for size, multiple in zip(sizes, self.multiples, strict=True)]
        return (batch, *sizes, channels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "multiples": self.multiples}


@keras.saving.register_keras_serializable("kseg")
class CropLike(keras.layers.Layer):
    """Cut the far end of x, y, z off until the first input has the second one's size: undoes `PadToMultiple`."""

    def call(self, inputs: Sequence[KerasTensor]) -> KerasTensor:
        """Return `inputs[0]` `(batch, x, y, z, channels)`, cut to the x, y, z of `inputs[1]`."""
        maps, like = inputs
        x, y, z = ops.shape(like)[1:4]
        return maps[:, :x, :y, :z]

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        """Return the cut shape."""
        maps, like = input_shape
        return (maps[0], *like[1:4], maps[4])
