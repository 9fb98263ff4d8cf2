"""Arithmetic and memory traffic of the dilated layers, by count: what a measured time is held against.

Counted are the convolutions of a forward pass, with their up-sampling and concatenation: products and sums as two
operations, and every float32 map that is read or written once for each pass over it. Norm, pooling and loss are the
same in both implementations and are left out.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras

from kseg.nn.implementation_choice import adds_shifted_inputs, reuses, transposes
from kseg.nn.layers import SharedDilatedConv3D
from kseg.nn.size_layers import MaxPool3D, PadToMultiple

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Operations and bytes of a forward pass."""

    flop: int
    bytes: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flop + other.flop, self.bytes + other.bytes)


def dilated_layers(
    network: keras.Model, patch: Sequence[int], batch: int
) -> Iterator[tuple[SharedDilatedConv3D, tuple[int, ...]]]:
    """Yield each dilated layer of a network with the shape `(batch, x, y, z, channels)` that it gets for a patch."""
    shape = (batch, *patch, network.input_shape[-1])
    for layer in network.layers:
        if isinstance(layer, SharedDilatedConv3D):
            yield layer, shape
        if isinstance(layer, SharedDilatedConv3D | PadToMultiple | MaxPool3D):
            shape = tuple(layer.compute_output_shape(shape))


def cost_of(layer: SharedDilatedConv3D, shape: Sequence[int], implementation: str) -> Cost:
    """Return the cost of a layer for an input `(batch, x, y, z, channels)`."""
    *_, channels = shape
    voxels = math.prod(shape[:-1])
    taps, rates = math.prod(layer.kernel_size), len(layer.dilation_rates)
    high = voxels * math.prod(layer.upsample)
    kernel_shape = (*layer.kernel_size, channels, layer.filters)
    if not reuses(implementation, kernel_shape, layer.dilation_rates, layer.upsample):
        flop = 2 * high * taps * channels * layer.filters * rates
        upsampling = voxels * channels + high * channels if high > voxels else 0
        passes = rates * high * (channels + layer.filters) + 2 * high * rates * layer.filters
        return Cost(flop, FLOAT_BYTES * (upsampling + passes))
    if adds_shifted_inputs(kernel_shape, layer.upsample):
        flop = 2 * voxels * taps * channels * layer.filters * rates
        return Cost(flop, FLOAT_BYTES * voxels * (channels + 3 * rates * layer.filters))
    if transposes(kernel_shape, layer.dilation_rates, layer.upsample, "float32"):
        taps = math.prod(size + factor - 1 for size, factor in zip(layer.kernel_size, layer.upsample, strict=True))
        flop = 2 * voxels * taps * channels * layer.filters
        return Cost(flop, FLOAT_BYTES * (voxels * channels + high * layer.filters))
    products = taps * layer.filters
    flop = 2 * voxels * channels * products
    floats = voxels * (channels + products)
    for rate in layer.dilation_rates:
        left, size = products, voxels
        for taps_of_axis, factor in zip(layer.kernel_size, layer.upsample, strict=True):
            read, left = left, left // taps_of_axis
            phases = 1 if rate % factor == 0 else factor
            flop += phases * size * left * (taps_of_axis - 1)
            floats += size * (read + factor * left)
            size *= factor
    return Cost(flop, FLOAT_BYTES * floats)


def network_cost(network: keras.Model, patch: Sequence[int], batch: int, implementation: str) -> Cost:
    """Return the cost of all dilated layers of a network for a patch `(x, y, z)`."""
    layers = dilated_layers(network, patch, batch)
    return sum((cost_of(layer, shape, implementation) for layer, shape in layers), start=Cost(0, 0))
