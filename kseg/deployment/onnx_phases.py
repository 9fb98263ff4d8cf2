"""A convolution of an up-sampled map, without dilation, as ONNX nodes: one convolution at the low resolution.

Voxel `u n + p` of the up-sampled map needs tap `o` at `n + floor((p + o) / u)`: of three taps and `u = 2`, two voxels
along each axis, with the taps that fall together added beforehand. The kernels of all phases `p` are filters of one
`Conv`, and its maps are interleaved: of three taps and `u = 2` with 8 multiplications a map instead of 27.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from kseg.deployment.onnx_interleaving import Sizes, X, Z, interleaved
from kseg.deployment.onnx_nodes import TO_THE_END, Nodes
from kseg.nn.kernel_reuse import tap_offsets


def convolution_by_phases(
    graph: Nodes, name: str, x: str, kernel: np.ndarray, bias: np.ndarray, upsample: Sequence[int]
) -> str:
    """Add the nodes of a convolution of `x`, up-sampled to its nearest voxels, "same" size.

    Args:
        graph: where nodes are added.
        name: with which theirs begin.
        x: the value `(batch, channels, x, y, z)` at the low resolution.
        kernel: `(kx, ky, kz, channels, filters)`, odd sizes.
        bias: `(filters,)`.
        upsample: factors along x, y, z.

    Returns:
        The value `(batch, filters, ux x, uy y, uz z)`.
    """
    *taps, channels, filters = kernel.shape
    # Of each axis, phase by phase, the voxel that each tap reads.
    offsets = [_of_all_phases(size, factor) for size, factor in zip(taps, upsample, strict=True)]
    windows = [max(max(phase) - min(phase) + 1 for phase in axis) for axis in offsets]
    reaches = [(-min(map(min, axis)), max(map(max, axis))) for axis in offsets]
    starts = [
        [min(*phase, behind - window + 1) for phase in axis]
        for axis, window, (_, behind) in zip(offsets, windows, reaches, strict=True)
    ]
    phases = list(product(*(range(factor) for factor in upsample)))
    kernels = np.zeros((len(phases), *windows, channels, filters))
    for number, phase in enumerate(phases):
        for tap in product(*(range(size) for size in taps)):
            place = tuple(a[p][t] - first[p] for a, first, p, t in zip(offsets, starts, phase, tap, strict=True))
            kernels[number][place] += kernel[tap]
    convolved = graph.node(
        "Conv",
        [
            x,
            graph.weights(f"{name}/kernel", kernels.transpose(0, 5, 4, 1, 2, 3).reshape(-1, channels, *windows)),
            graph.weights(f"{name}/bias", np.tile(bias, len(phases))),
        ],
        f"{name}/products",
        kernel_shape=windows,
        pads=[before for before, _ in reaches] + [behind for _, behind in reaches],
    )

    def maps_of(phase: tuple[int, ...]) -> str:
        first = phases.index(phase) * filters
        begin, end = [first], [first + filters]
        for p, start, window, (before, behind) in zip(phase, starts, windows, reaches, strict=True):
            begin.append(start[p] + before)
            end.append(start[p] - (behind - window + 1) or TO_THE_END)
        return graph.slice(convolved, f"{name}/phase_{''.join(map(str, phase))}", begin, end, [1, 2, 3, 4])

    sizes = Sizes(graph, name, x)

    def joined(phase: tuple[int, ...]) -> str:
        """All maps of the phases that begin with these, along x, then y, then z."""
        axis = X + len(phase)
        if axis > Z:
            return maps_of(phase)
        parts = [joined((*phase, p)) for p in range(upsample[axis - X])]
        if len(parts) == 1:
            return parts[0]
        factors = [factor if along >= len(phase) else 1 for along, factor in enumerate(upsample)]
        own = f"{name}/phases_{''.join(map(str, phase))}" if phase else f"{name}/convolved"
        return interleaved(graph, own, parts, axis, sizes.shape(factors))

    return joined(())


def _of_all_phases(taps: int, factor: int) -> list[list[int]]:
    phases = tap_offsets(taps, 1, factor)
    return phases * (factor // len(phases))
