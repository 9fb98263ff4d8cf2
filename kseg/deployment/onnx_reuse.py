"""A convolution of an up-sampled map as ONNX nodes that multiply once: for all rates, and at the low resolution.

The mathematics are those of `kseg.nn.kernel_reuse`: the products of all taps are one `Conv` of 1 x 1 x 1, of the map
with zeros around it as far as the taps reach. Each rate is a sum of slices of them, axis by axis, and the phases of the
up-sampling are interleaved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kseg.deployment.onnx_interleaving import SPACE, Sizes, X, interleaved
from kseg.deployment.onnx_nodes import TO_THE_END, Nodes
from kseg.nn.kernel_reuse import tap_offsets

Triple = tuple[int, int, int]


class Sums(NamedTuple):
    """What one rate makes: maps, and how often each voxel of them is to be repeated along x, y, z.

    Where the up-sampling divides the rate all its phases coincide. What is done map by map, or voxel by voxel, is done
    before voxels are repeated.
    """

    maps: str
    repeats: Triple


@dataclass
class _Layer:
    """What the rates of a layer have in common: sizes, and slices of products, each taken once."""

    graph: Nodes
    name: str
    sizes: Sizes
    taken: dict[tuple[str, int, int, int], str] = field(default_factory=dict)

    def slice(self, maps: str, first: int, number: int, axis: int, offset: int, margin: int) -> str:
        """So many of the maps from the first on, moved by `offset` along an axis that loses its margin."""
        key = (maps, first, axis, offset)
        if key not in self.taken:
            name = f"{maps}/{'xyz'[axis - X]}_{first}_{offset}"
            ends = [first + number, offset - margin if offset < margin else TO_THE_END]
            self.taken[key] = self.graph.slice(maps, name, [first, margin + offset], ends, [1, axis])
        return self.taken[key]


def reused_sums(
    graph: Nodes,
    name: str,
    x: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    rates: Sequence[int],
    upsample: Sequence[int],
) -> list[Sums]:
    """Add the nodes of a convolution of `x`, up-sampled to its nearest voxels, at every rate, "same" size.

    Args:
        graph: where nodes are added.
        name: the layer's, with which theirs begin.
        x: the value `(batch, channels, x, y, z)` at the low resolution.
        kernel: `(kx, ky, kz, channels, filters)`, odd sizes.
        bias: `(filters,)`, which is added at every rate.
        rates: dilation rates, in (up-sampled) voxels.
        upsample: factors along x, y, z.

    Returns:
        For each rate its maps `(batch, filters, ...)`; `repeated` makes `(batch, filters, ux x, uy y, uz z)` of them.
    """
    *taps, channels, filters = kernel.shape
    margins = [
        max(abs(offset) for rate in rates for phase in tap_offsets(size, rate, factor) for offset in phase)
        for size, factor in zip(taps, upsample, strict=True)
    ]
    matrix = kernel.transpose(0, 1, 2, 4, 3).reshape(-1, channels, 1, 1, 1)
    bias_by_tap = np.zeros((*taps, filters))
    bias_by_tap[tuple(size // 2 for size in taps)] = bias  # this tap reads no voxel around the map
    padded = graph.node("Pad", [x, graph.constant(f"{name}/margins", [0, 0, *margins] * 2)], f"{name}/padded")
    weights = [
        graph.weights(f"{name}/kernel", matrix),
        graph.weights(f"{name}/bias", bias_by_tap.reshape(-1)),
    ]
    products = graph.node("Conv", [padded, *weights], f"{name}/products", kernel_shape=(1, 1, 1))
    layer = _Layer(graph, name, Sizes(graph, name, x))
    by_rate = {
        rate: _sums_of_rate(layer, products, kernel.shape, margins, rate, upsample) for rate in dict.fromkeys(rates)
    }
    return [by_rate[rate] for rate in rates]


def repeated(graph: Nodes, name: str, sums: Sums) -> str:
    """Add the nodes that repeat voxels as often as they are to be; return the value with all of them."""
    maps, repeats = sums
    if max(repeats) == 1:
        return maps
    sizes, factors = Sizes(graph, f"{name}/repeated", maps), [1, 1, 1]
    for axis in reversed(SPACE):  # z, the slowest, while there are few
        if repeats[axis - X] > 1:
            factors[axis - X] = repeats[axis - X]
            own, phases = f"{name}/repeated_{'xyz'[axis - X]}", [maps] * repeats[axis - X]
            maps = interleaved(graph, own, phases, axis, sizes.shape(factors))
    return maps


def _sums_of_rate(
    layer: _Layer,
    products: str,
    kernel_shape: Sequence[int],
    margins: Sequence[int],
    rate: int,
    upsample: Sequence[int],
) -> Sums:
    maps, number = products, int(np.prod(kernel_shape[:3])) * kernel_shape[4]
    factors, left, repeats = [1, 1, 1], list(margins), [1, 1, 1]
    for axis in SPACE:
        along = axis - X
        taps, factor, margin = kernel_shape[along], upsample[along], margins[along]
        number //= taps
        offsets = tap_offsets(taps, rate, factor)
        name = f"{layer.name}/rate_{rate}/{'xyz'[along]}"
        phases = []
        for phase, of_taps in enumerate(offsets):
            slices = [layer.slice(maps, tap * number, number, axis, at, margin) for tap, at in enumerate(of_taps)]
            total = slices[0]
            for tap, one in enumerate(slices[1:], start=1):
                total = layer.graph.node("Add", [total, one], f"{name}/phase_{phase}_{tap}")
            phases.append(total)
        factors[along], left[along], repeats[along] = len(phases), 0, factor // len(phases)
        maps = phases[0]
        if len(phases) > 1:
            maps = interleaved(layer.graph, name, phases, axis, layer.sizes.shape(factors, left))
    return Sums(maps, (repeats[0], repeats[1], repeats[2]))
