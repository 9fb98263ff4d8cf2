"""A convolution of a volume as ONNX nodes that convolve its planes, and add neighbouring ones.

`y[x] = sum_t W[t] * plane[x + d t]`, where `*` is the convolution in the plane: it is made for all taps `t` along x at
once, of all planes as a batch, and the results of `k` planes are added. ONNX Runtime has fast convolutions of planes
(they keep 16 maps side by side in memory) and none of volumes: it copies the voxels under each tap, which takes longer
than to multiply them where filters are few.
"""

import numpy as np

from kseg.deployment.onnx_nodes import TO_THE_END, Nodes

MAPS, X = 2, 1  # axes of `(batch, x, maps, y, z)`


def convolution_of_planes(graph: Nodes, name: str, x: str, kernel: np.ndarray, bias: np.ndarray, rate: int = 1) -> str:
    """Add the nodes of a convolution of `x` "same" size; return the value `(batch, filters, x, y, z)`.

    Args:
        graph: where nodes are added.
        name: with which theirs begin.
        x: the value `(batch, channels, x, y, z)`.
        kernel: `(kx, ky, kz, channels, filters)`, odd sizes.
        bias: `(filters,)`.
        rate: dilation rate.
    """
    taps, *in_plane, channels, filters = kernel.shape
    centre = taps // 2
    plane = graph.node("Shape", [x], f"{name}/plane", start=3)
    batch = graph.node("Shape", [x], f"{name}/batch", end=1)
    stack = graph.node("Transpose", [x], f"{name}/stack", perm=(0, 2, 1, 3, 4))
    stack_shape = graph.node("Concat", [graph.constant(f"{name}/all", [-1, channels]), plane], f"{name}/shape", axis=0)
    planes = graph.node("Reshape", [stack, stack_shape], f"{name}/planes")
    bias_by_tap = np.zeros((taps, filters))
    bias_by_tap[centre] = bias
    weights = [
        graph.weights(f"{name}/kernel", kernel.transpose(0, 4, 3, 1, 2).reshape(-1, channels, *in_plane)),
        graph.weights(f"{name}/bias", bias_by_tap.reshape(-1)),
    ]
    convolved = graph.node(
        "Conv",
        [planes, *weights],
        f"{name}/products",
        kernel_shape=in_plane,
        dilations=(rate, rate),
        pads=[rate * (size // 2) for size in in_plane] * 2,
    )
    of_volumes = graph.constant(f"{name}/volumes", [-1, taps * filters])
    shape = graph.node("Concat", [batch, of_volumes, plane], f"{name}/volume_shape", axis=0)
    by_tap = graph.node("Reshape", [convolved, shape], f"{name}/by_tap")
    total = ""
    for tap in range(taps):
        offset = rate * (tap - centre)
        before, behind = np.zeros(5, int), np.zeros(5, int)
        before[MAPS], behind[MAPS] = -tap * filters, -(taps - 1 - tap) * filters  # less than none: cut off
        before[X], behind[X] = max(-offset, 0), max(offset, 0)
        pads = graph.constant(f"{name}/pads_{tap}", np.concatenate([before, behind]))
        shifted = graph.node("Pad", [by_tap, pads], f"{name}/tap_{tap}")
        if offset:
            # Not cut off by `Pad` too: where the volume is smaller than the offset, more is cut off than there is.
            end = min(offset, 0) or TO_THE_END
            shifted = graph.slice(shifted, f"{name}/shifted_{tap}", [max(offset, 0)], [end], [X])
        total = graph.node("Add", [total, shifted], f"{name}/sum_{tap}") if total else shifted
    return graph.node("Transpose", [total], f"{name}/convolved", perm=(0, 2, 1, 3, 4))
