"""ONNX graphs of a few nodes, and what a convolution in them must be: SciPy's, in float64."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from scipy import ndimage

from kseg.deployment.onnx_nodes import Nodes


def run_nodes(add: Callable[[Nodes], str], *inputs: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Run a graph on each `x` `(batch, channels, x, y, z)`; `add` adds its nodes and returns the name of the result.

    Returns:
        What the graph, which knows no sizes but the channels, makes of each, and how many nodes it has.
    """
    graph = Nodes(np.dtype(np.float32))
    result = add(graph)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, *(name + axis for axis in "xyz")])
        for name, channels in (("x", inputs[0].shape[1]), (result, None))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "few", ends[:1], ends[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x.astype(np.float32)})[0] for x in inputs], len(graph.nodes)


def nodes_convolve(
    add: Callable[[np.ndarray, np.ndarray], Callable[[Nodes], str]],
    shape: tuple[int, ...],
    filters: int,
    sizes: tuple[int, ...],
    wanted: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> int:
    """Run the nodes of a random kernel and bias on volumes of two sizes, compare, and return how many nodes there are.

    Args:
        add: makes of kernel and bias what `run_nodes` takes.
        shape: of the smaller volume, `(batch, channels, x, y, z)`.
        filters: of the kernel.
        sizes: of the kernel.
        wanted: what they must make of a volume, the kernel and the bias.
    """
    rng = np.random.default_rng(0)
    x, larger = rng.normal(size=shape), rng.normal(size=(1, shape[1], *(size + 3 for size in shape[2:])))
    kernel, bias = rng.normal(size=(*sizes, shape[1], filters)), rng.normal(size=filters)
    found, nodes = run_nodes(add(kernel, bias), x, larger)
    for one, volume in zip(found, (x, larger), strict=True):
        expected = wanted(volume, kernel, bias)
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    return nodes


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, rate: int, factors: tuple[int, ...]) -> np.ndarray:
    """Return `(batch, filters, ...)`: `x` up-sampled to its nearest voxels, by a kernel with zeros between its taps."""
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis=axis)
    *taps, channels, filters = kernel.shape
    inflated = np.zeros((*(rate * (size - 1) + 1 for size in taps), channels, filters))
    inflated[::rate, ::rate, ::rate] = kernel
    return np.stack(
        [
            np.stack(
                [
                    bias[f]
                    + sum(ndimage.correlate(sample[c], inflated[..., c, f], mode="constant") for c in range(channels))
                    for f in range(filters)
                ]
            )
            for sample in x
        ]
    )
