"""The paper's layer: one kernel at several dilation rates, bias, norm and ReLU, concatenated."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from kseg.nn.convolution import dilated_convolutions, upsample_nearest
from kseg.nn.implementation_choice import PLAIN, check_implementation, reuses, uses_xla
from kseg.nn.kernel_reuse import reused_convolutions
from kseg.nn.norms import (
    fast_batch_norm,
    group_norm,
    plain_batch_norm,
    scale_and_shift,
)
from kseg.nn.size_layers import triple
from kseg.nn.xla_compiled import compiled

NORMS = ("batch", "instance", "group")


@keras.saving.register_keras_serializable("kseg")
class SharedDilatedConv3D(keras.layers.Layer):
    """Dilated 3D convolutions that share one kernel, each followed by bias, batch norm and ReLU.

    `(batch, x, y, z, channels)` becomes `(batch, u x, u y, u z, len(dilation_rates) * filters)`, the maps of the
    first rate first. Kernel, bias and the norm's scale and shift are shared by all branches, so that a layer has
    `k^3 channels filters + 3 filters` trainable parameters (Al Chanti et al., section 2). Statistics are not
    shared: each branch has a distribution of its own, hence its own moving averages.

    Args:
        filters: maps of one branch.
        kernel_size: odd size of the kernel, one number or one for each of x, y, z.
        dilation_rates: distances in voxels at which the kernel is applied.
        share_kernel: `False` gives every branch parameters of its own (the paper's baseline).
        upsample: nearest-neighbour up-sampling of the input before the convolution, per axis or one for all.
        implementation: `"direct"`, plain dilated convolutions of the up-sampled volume; `"reuse"`, the same numbers
            with the multiplications shared by rates and up-sampled voxels (`kseg.nn.kernel_reuse`); `"auto"`, the
            faster one for this layer (`kseg.nn.implementation_choice`); `"plain"`, the faster one without XLA, for
            exports. Weights are the same: one loads the other's.
        norm: `"batch"`, statistics over the batch and space; `"instance"`, each sample's and map's own; `"group"`, each
            sample's and branch's own. Only `"batch"` keeps moving averages.
        negative_slope: 0 for ReLU; above, leaky ReLU.
        norm_momentum: share of the old value that the norm's moving averages keep at a step.
        norm_epsilon: added to the variance.

    Raises:
        ValueError: an argument is out of range; the message names it and what it received.

    Example:
        Four rates see 3, 5, 7 and 9 voxels along each axis with the parameters of one: 27 x 2 x 5 + 3 x 5.

        >>> import math
        >>> import kseg
        >>> import numpy as np
        >>> for share_kernel in (True, False):
        ...     layer = kseg.SharedDilatedConv3D(5, dilation_rates=(1, 2, 3, 4), share_kernel=share_kernel)
        ...     maps = layer(np.zeros((1, 8, 8, 8, 2), "float32"))
        ...     print(tuple(maps.shape), sum(math.prod(weight.shape) for weight in layer.trainable_weights))
        (1, 8, 8, 8, 20) 285
        (1, 8, 8, 8, 20) 1140
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        dilation_rates: Sequence[int] = (1, 2, 3, 4),
        share_kernel: bool = True,
        upsample: int | Sequence[int] = 1,
        implementation: str = "auto",
        norm: str = "batch",
        negative_slope: float = 0.0,
        norm_momentum: float = 0.9,
        norm_epsilon: float = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(f"`filters` must be at least 1. Received {filters!r}.")
        if not dilation_rates or min(dilation_rates) < 1:
            raise ValueError(f"`dilation_rates` must be positive integers, at least one. Received {dilation_rates!r}.")
        check_implementation(implementation)
        if norm not in NORMS:
            raise ValueError(f"`norm` must be one of {NORMS}. Received {norm!r}.")
        self.filters = filters
        self.kernel_size = triple(kernel_size, "kernel_size")
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"`kernel_size` must be odd, so that a kernel has a centre. Received {kernel_size!r}.")
        self.dilation_rates = tuple(dilation_rates)
        self.share_kernel = share_kernel
        self.upsample = triple(upsample, "upsample")
        self.implementation = implementation
        self.norm = norm
        self.negative_slope = negative_slope
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights for `input_shape` `(batch, x, y, z, channels)`."""
        branches = len(self.dilation_rates)
        own = () if self.share_kernel else (branches,)
        kernel_shape = (*self.kernel_size, input_shape[-1], self.filters)
        glorot = keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator())

        def kernel_initializer(shape: Sequence[int], dtype: Any = None) -> KerasTensor:
            # Each branch's kernel is drawn for its own fan-in: a leading branch axis must not widen it.
            drawn = [glorot(kernel_shape, dtype=dtype) for _ in range(branches if own else 1)]
            return ops.reshape(ops.stack(drawn), shape)

        self.kernel = self.add_weight(name="kernel", shape=(*own, *kernel_shape), initializer=kernel_initializer)
        self.bias = self.add_weight(name="bias", shape=(*own, self.filters), initializer="zeros")
        # The norm works in float32 whatever the layer's dtype: half-precision sums over a volume overflow.
        norm = {"autocast": False, "dtype": "float32"}
        self.scale = self.add_weight(name="scale", shape=(*own, self.filters), initializer="ones", **norm)
        self.shift = self.add_weight(name="shift", shape=(*own, self.filters), initializer="zeros", **norm)
        if self.norm != "batch":
            return
        # Synchronised statistics are equal on all replicas, so that nothing need be sent.
        moving = {"shape": (branches * self.filters,), "trainable": False, "aggregation": "only_first_replica", **norm}
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **moving)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **moving)

    def call(self, x: KerasTensor, summand: KerasTensor | None = None, training: bool = False) -> KerasTensor:
        """Return the concatenated maps of all branches, `(batch, u x, u y, u z, branches * filters)`.

        `summand`, of the same shape, is added to them: a residual or a skip connection, in the pass that activates.
        """
        maps = self._convolve(x)
        bias, scale, shift = (self._per_map(weight) for weight in (self.bias, self.scale, self.shift))
        constants = {"epsilon": self.norm_epsilon, "negative_slope": self.negative_slope}
        if self.norm != "batch":
            groups = len(self.dilation_rates) * (self.filters if self.norm == "instance" else 1)
            return group_norm(maps, bias, scale, shift, groups, **constants, summand=summand)
        if not (training and self.trainable):  # as Keras' own norm: statistics of what does not learn stay as they are
            mean, variance = ops.copy(self.moving_mean), ops.copy(self.moving_variance)
            mean = mean - ops.cast(bias, mean.dtype)
            if not uses_xla(self.implementation):
                return scale_and_shift(maps, mean, variance, scale, shift, **constants, summand=summand)
            one_pass = compiled(scale_and_shift, **constants)
            return one_pass(maps, mean, variance, scale, shift, summand=summand)
        norm = plain_batch_norm if self.implementation == "direct" else fast_batch_norm
        maps, mean, variance = norm(maps, bias, scale, shift, **constants, summand=summand)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return maps

    def _move(self, moving: keras.Variable, statistic: KerasTensor) -> None:
        """Move the average of a statistic."""
        if self.compute_dtype == "float16":  # a step whose maps overflow is skipped, and leaves no mark here either
            statistic = ops.where(ops.isfinite(statistic), statistic, ops.convert_to_tensor(moving))
        moving.assign(self.norm_momentum * moving + (1 - self.norm_momentum) * statistic)

    def _convolve(self, x: KerasTensor) -> KerasTensor:
        kernel, rates = ops.copy(self.kernel), self.dilation_rates  # a tensor: custom gradients take no variables
        own = [] if self.share_kernel else ops.unstack(kernel, axis=0)
        if reuses(self.implementation, self.kernel.shape[-5:], rates, self.upsample, self.compute_dtype):
            plain = self.implementation == PLAIN
            if self.share_kernel:
                return reused_convolutions(x, kernel, rates, self.upsample, plain)
            branches = [
                reused_convolutions(x, k, (rate,), self.upsample, plain) for k, rate in zip(own, rates, strict=True)
            ]
            return ops.concatenate(branches, axis=-1)
        x = upsample_nearest(x, self.upsample)
        return dilated_convolutions(x, own or [kernel] * len(rates), rates)

    def _per_map(self, weight: KerasTensor) -> KerasTensor:
        """Return a weight of one branch, or of each, as a vector over the concatenated maps."""
        if self.share_kernel:
            return ops.tile(weight, len(self.dilation_rates))
        return ops.reshape(weight, (-1,))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the output's shape for `input_shape` `(batch, x, y, z, channels)`."""
        batch, *sizes, _ = input_shape
        sizes = [size and size * factor for size, factor in zip(sizes, self.upsample, strict=True)]
        return (batch, *sizes, len(self.dilation_rates) * self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation_rates": self.dilation_rates,
            "share_kernel": self.share_kernel,
            "upsample": self.upsample,
            "implementation": self.implementation,
            "norm": self.norm,
            "negative_slope": self.negative_slope,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
        }


@keras.saving.register_keras_serializable("kseg")
class OutputConv3D(keras.layers.Conv3D):
    """Keras' 3D convolution, "same" size, after nearest-neighbour up-sampling; its multiplications may be reused.

    Args:
        upsample: as that of `SharedDilatedConv3D`.
        implementation: as that of `SharedDilatedConv3D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        upsample: int | Sequence[int] = 1,
        implementation: str = "auto",
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, **{**kwargs, "padding": "same"})
        check_implementation(implementation)
        self.upsample = triple(upsample, "upsample")
        self.implementation = implementation

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """Return the convolution of `inputs` `(batch, x, y, z, channels)`, without bias."""
        if reuses(self.implementation, kernel.shape, (1,), self.upsample, self.compute_dtype):
            return reused_convolutions(inputs, ops.copy(kernel), (1,), self.upsample, self.implementation == PLAIN)
        return super().convolution_op(upsample_nearest(inputs, self.upsample), kernel)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the output's shape for `input_shape` `(batch, x, y, z, channels)`."""
        batch, *sizes, _ = input_shape
        sizes = [size and size * factor for size, factor in zip(sizes, self.upsample, strict=True)]
        return (batch, *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "upsample": self.upsample, "implementation": self.implementation}


@keras.saving.register_keras_serializable("kseg")
class Probabilities(keras.layers.Softmax):
    """Keras' softmax over the classes, in float32 whatever the maps' dtype; or of regions the sigmoid of each.

    Args:
        implementation: `"direct"`, Keras' own; else compiled, in half the time where classes are few.
        overlap: whether the maps are those of regions, so that a voxel may be in several, or in none.
    """

    def __init__(self, implementation: str = "auto", overlap: bool = False, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})
        check_implementation(implementation)
        self.implementation = implementation
        self.overlap = overlap

    def call(self, maps: KerasTensor) -> KerasTensor:
        """Return probabilities of `maps` `(batch, x, y, z, classes)`, which sum to 1 if these exclude each other."""
        if self.overlap:
            return ops.sigmoid(maps)
        return compiled(_softmax)(maps) if uses_xla(self.implementation) else super().call(maps)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "implementation": self.implementation, "overlap": self.overlap}


def _softmax(maps: KerasTensor) -> KerasTensor:
    powers = ops.exp(maps - ops.stop_gradient(ops.max(maps, axis=-1, keepdims=True)))
    return powers / ops.sum(powers, axis=-1, keepdims=True)
