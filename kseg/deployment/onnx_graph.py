"""A network as an ONNX graph of plain operations, for runtimes that know nothing of TensorFlow.

Patches go in and probabilities come out as Keras has them, channels last; inside, channels come first, as ONNX wants
them. A plain graph has one `Conv` for each rate of a layer, dilated by its attribute; a norm with moving averages is
part of it, computed in float64. Else layers are made of what ONNX Runtime computes faster (`onnx_reuse`, `onnx_phases`,
`onnx_planes`). Operator set 17 holds all that is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import onnx
from keras import ops
from onnx import helper

import kseg
from kseg.deployment.onnx_nodes import Nodes
from kseg.deployment.onnx_phases import convolution_by_phases
from kseg.deployment.onnx_planes import convolution_of_planes
from kseg.deployment.onnx_reuse import Sums, repeated, reused_sums
from kseg.deployment.tensor_names import PROBABILITIES, VOXELS
from kseg.nn.implementation_choice import convolves_planes_in_onnx, reuses_in_onnx
from kseg.nn.layers import OutputConv3D, Probabilities, SharedDilatedConv3D
from kseg.nn.size_layers import CropLike, MaxPool3D, PadToMultiple

OPERATOR_SET = 17
IR_VERSION = 8
AXES = ("x", "y", "z")


@dataclass
class _Graph(Nodes):
    """The graph of a network; `size` (x, y, z) is None where any is taken, `plain` is that of `onnx_model`."""

    size: tuple[int, ...] | None = None
    plain: bool = False
    space: str = ""
    """Value or constant that holds x, y, z before they were padded; none where they were not."""


class _Branch(NamedTuple):
    """A rate of a layer: its weights, and its norm as a factor and an offset for each of its maps."""

    name: str
    rate: int
    kernel: np.ndarray
    bias: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


def onnx_model(
    network: keras.Model,
    size: Sequence[int] | None = None,
    dtype: str = "float32",
    plain: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Return `network` as a checked ONNX model.

    It maps `voxels` `(batch, x, y, z, channels)` to `probabilities` `(batch, x, y, z, classes)`, both float32, for any
    batch.

    Args:
        network: made by `kseg.nn.networks.encoder_decoder`, its weights float32.
        size: x, y, z of the only patches that it takes; None for patches of any size.
        dtype: `"float32"`, or `"float16"` for weights and maps of half precision: statistics of a norm and the softmax
            are float32 in both.
        plain: each rate of a layer as one `Conv`, for what makes fast kernels of these, as TensorRT does; else as
            ONNX Runtime computes it fastest on a processor (`kseg.nn.implementation_choice`).
        metadata: written into the model, by key.

    Raises:
        TypeError: a layer is none of kseg's networks.
    """
    graph = _Graph(np.dtype(dtype), size=None if size is None else tuple(size), plain=plain)
    channels_first = graph.node("Transpose", [VOXELS], "channels_first", perm=(0, 4, 1, 2, 3))
    values = {id(network.input): graph.cast(channels_first, dtype, "input_cast")}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        write = next((write for kind, write in _WRITERS.items() if isinstance(layer, kind)), None)
        if write is None:
            raise TypeError(
                f"layer '{layer.name}' is a {type(layer).__name__}, which has no place in a network of kseg"
            )
        inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
        values[id(layer.output)] = write(graph, layer, *(values[id(tensor)] for tensor in inputs))
    graph.node("Identity", [values[id(network.output)]], PROBABILITIES)
    space = AXES if size is None else tuple(size)
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", *space, tensor.shape[-1]))
        for name, tensor in ((VOXELS, network.input), (PROBABILITIES, network.output))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, network.name, ends[:1], ends[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
        ir_version=IR_VERSION,
        producer_name="kseg",
        producer_version=kseg.__version__,
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def _dilated(graph: _Graph, layer: SharedDilatedConv3D, x: str, summand: str | None = None) -> str:
    """Convolution, norm and activation for each rate, concatenated; to these the summand, where there is one."""
    branches = _branches(layer)
    if not graph.plain and reuses_in_onnx(layer.dilation_rates, layer.upsample):
        maps = _reused(graph, layer, branches, x)
    else:
        x = _upsampled(graph, layer, x)
        maps = [_activated(graph, layer, branch.name, _branch(graph, layer, branch, x)) for branch in branches]
    joined = maps[0] if len(maps) == 1 else graph.node("Concat", maps, f"{layer.name}/maps", axis=1)
    return joined if summand is None else graph.node("Add", [joined, summand], f"{layer.name}/sum")


def _branches(layer: SharedDilatedConv3D) -> list[_Branch]:
    rates, branches = layer.dilation_rates, []
    weights = [_numpy(getattr(layer, name)) for name in ("kernel", "bias", "scale", "shift")]
    if layer.share_kernel:
        weights = [np.broadcast_to(one, (len(rates), *one.shape)) for one in weights]
    for index, rate in enumerate(rates):
        name = f"{layer.name}/rate_{rate}" if rates.count(rate) == 1 else f"{layer.name}/branch_{index + 1}"
        kernel, bias, gain, offset = (one[index] for one in weights)
        if layer.norm == "batch":
            of_branch = slice(index * layer.filters, (index + 1) * layer.filters)
            mean, variance = (_numpy(moving)[of_branch] for moving in (layer.moving_mean, layer.moving_variance))
            gain = gain / np.sqrt(variance + layer.norm_epsilon)
            offset = offset - mean * gain
        branches.append(_Branch(name, rate, kernel, bias, gain, offset))
    return branches


def _branch(graph: _Graph, layer: SharedDilatedConv3D, branch: _Branch, x: str) -> str:
    """One convolution and its norm."""
    name, rate, kernel, bias, gain, offset = branch
    if layer.norm == "batch":
        return _convolved(graph, name, x, kernel * gain, offset + bias * gain, rate, layer.upsample)
    return _normed(graph, layer, branch, _convolved(graph, name, x, kernel, bias, rate, layer.upsample))


def _reused(graph: _Graph, layer: SharedDilatedConv3D, branches: Sequence[_Branch], x: str) -> list[str]:
    """The maps of each branch, whose products are made at the low resolution, and once if they share a kernel."""
    if layer.share_kernel:
        first = branches[0]
        by_branch = reused_sums(graph, layer.name, x, first.kernel, first.bias, layer.dilation_rates, layer.upsample)
    else:
        by_branch = [
            reused_sums(graph, branch.name, x, branch.kernel, branch.bias, (branch.rate,), layer.upsample)[0]
            for branch in branches
        ]
    maps = []
    for branch, sums in zip(branches, by_branch, strict=True):
        if layer.norm == "batch":
            normed = _scaled(graph, branch, sums.maps, graph.dtype)
        else:
            normed = _normed(graph, layer, branch, sums.maps)
        maps.append(repeated(graph, branch.name, Sums(_activated(graph, layer, branch.name, normed), sums.repeats)))
    return maps


def _activated(graph: _Graph, layer: SharedDilatedConv3D, name: str, maps: str) -> str:
    slope = layer.negative_slope
    activation = {"operator": "LeakyRelu", "alpha": slope} if slope else {"operator": "Relu"}
    return graph.node(inputs=[maps], name=f"{name}/maps", **activation)


def _normed(graph: _Graph, layer: SharedDilatedConv3D, branch: _Branch, maps: str) -> str:
    """Instance norm, or group norm of a branch as the instance norm of all its maps laid end to end."""
    single, name = np.dtype(np.float32), branch.name
    maps = graph.cast(maps, single, f"{name}/float32")
    if layer.norm == "instance":
        constants = [
            graph.constant(f"{name}/{key}", v.astype(single))
            for key, v in (("scale", branch.gain), ("shift", branch.offset))
        ]
        normed = graph.node("InstanceNormalization", [maps, *constants], f"{name}/normed", epsilon=layer.norm_epsilon)
        return graph.cast(normed, graph.dtype, f"{name}/normed_cast")
    shape = graph.node("Shape", [maps], f"{name}/shape")
    flat = graph.node("Reshape", [maps, graph.constant(f"{name}/flat_shape", [0, 1, -1])], f"{name}/flat")
    plain = [graph.constant(f"{name}/{key}", np.full(1, v, single)) for key, v in (("one", 1), ("zero", 0))]
    normed = graph.node("InstanceNormalization", [flat, *plain], f"{name}/flat_normed", epsilon=layer.norm_epsilon)
    unscaled = graph.node("Reshape", [normed, shape], f"{name}/unscaled")
    return graph.cast(_scaled(graph, branch, unscaled, single), graph.dtype, f"{name}/normed_cast")


def _scaled(graph: _Graph, branch: _Branch, maps: str, dtype: np.dtype) -> str:
    """Each map with its factor and its offset."""
    gain, offset = (
        graph.constant(f"{branch.name}/{key}", values.astype(dtype).reshape(-1, 1, 1, 1))
        for key, values in (("scale", branch.gain), ("shift", branch.offset))
    )
    return graph.node(
        "Add", [graph.node("Mul", [maps, gain], f"{branch.name}/scaled"), offset], f"{branch.name}/normed"
    )


def _convolved(
    graph: _Graph, name: str, x: str, kernel: np.ndarray, bias: np.ndarray, rate: int, upsample: Sequence[int]
) -> str:
    """A convolution without strides of what `_upsampled` returned, in the way that is fastest."""
    if graph.plain:
        return _convolution(graph, name, x, kernel, bias, dilation=rate)
    if max(upsample) > 1:
        return convolution_by_phases(graph, name, x, kernel, bias, upsample)
    if convolves_planes_in_onnx(kernel.shape):
        return convolution_of_planes(graph, name, x, kernel, bias, rate)
    return _convolution(graph, name, x, kernel, bias, dilation=rate)


def _convolution(
    graph: _Graph,
    name: str,
    x: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    dilation: int = 1,
    strides: Sequence[int] = (1, 1, 1),
) -> str:
    """A convolution, "same" size, of an input whose sizes are multiples of `strides`."""
    taps = kernel.shape[:3]
    padding = [max(dilation * (k - 1) + 1 - stride, 0) for k, stride in zip(taps, strides, strict=True)]
    return graph.node(
        "Conv",
        [
            x,
            graph.weights(f"{name}/kernel", kernel.transpose(4, 3, 0, 1, 2)),
            graph.weights(f"{name}/bias", bias),
        ],
        f"{name}/convolved",
        kernel_shape=taps,
        dilations=(dilation,) * 3,
        strides=tuple(strides),
        # As TensorFlow has it, the odd voxel behind.
        pads=[total // 2 for total in padding] + [total - total // 2 for total in padding],
    )


def _upsampled(graph: _Graph, layer: SharedDilatedConv3D | OutputConv3D, x: str) -> str:
    """What a layer convolves in a plain graph; in others its convolution up-samples."""
    if not graph.plain or max(layer.upsample) == 1:
        return x
    scales = graph.constant(f"{layer.name}/factors", np.array([1, 1, *layer.upsample], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", [x, "", scales], f"{layer.name}/upsampled", **how)


def _lone_convolution(graph: _Graph, layer: keras.layers.Conv3D, x: str) -> str:
    """The stem, or the output."""
    name, kernel, bias = layer.name, _numpy(layer.kernel), _numpy(layer.bias)
    if not isinstance(layer, OutputConv3D):
        return _convolution(graph, name, x, kernel, bias, strides=layer.strides)
    if not graph.plain and reuses_in_onnx((1,), layer.upsample):
        return repeated(graph, name, *reused_sums(graph, name, x, kernel, bias, (1,), layer.upsample))
    return _convolved(graph, name, _upsampled(graph, layer, x), kernel, bias, 1, layer.upsample)


def _pool(graph: _Graph, layer: MaxPool3D, x: str) -> str:
    size = tuple(layer.pool_size)
    return graph.node("MaxPool", [x], layer.name, kernel_shape=size, strides=size)


def _pad(graph: _Graph, layer: PadToMultiple, x: str) -> str:
    """Zeros behind, as many as the size lacks; the size is kept for `_crop`."""
    multiples = np.array(layer.multiples)
    if graph.size is not None:
        missing = -np.array(graph.size) % multiples
        if not missing.any():
            return x
        graph.space = graph.constant("space", graph.size)
        pads = graph.constant(f"{layer.name}/pads", [0] * 7 + missing.tolist())
    elif multiples.max() == 1:
        return x
    else:
        # A quotient times its divisor is a multiple to TensorRT for RTX, too; after `Mod` it takes no `Resize`.
        name = layer.name
        graph.space = graph.node("Shape", [x], "space", start=2)
        divisors = graph.constant(f"{name}/multiples", multiples)
        up = graph.node("Add", [graph.space, graph.constant(f"{name}/rounding", multiples - 1)], f"{name}/rounded_up")
        padded = graph.node("Mul", [graph.node("Div", [up, divisors], f"{name}/times"), divisors], f"{name}/padded")
        behind = graph.node("Sub", [padded, graph.space], f"{name}/missing")
        before = graph.constant(f"{name}/before", [0] * 7)
        pads = graph.node("Concat", [before, behind], f"{name}/pads", axis=0)
    return graph.node("Pad", [x, pads], layer.name)


def _crop(graph: _Graph, layer: CropLike, x: str, _: str) -> str:
    """Probabilities `(batch, x, y, z, classes)`, cut to the size before `_pad`."""
    if not graph.space:
        return x
    starts, axes = graph.constant(f"{layer.name}/starts", [0, 0, 0]), graph.constant(f"{layer.name}/axes", [1, 2, 3])
    return graph.node("Slice", [x, starts, graph.space, axes], layer.name)


def _sum(graph: _Graph, layer: keras.layers.Layer, *maps: str) -> str:
    return graph.node("Add", maps, layer.name)


def _probabilities(graph: _Graph, layer: Probabilities, x: str) -> str:
    """Probabilities, channels last: ONNX Runtime's softmax over the first of the axes takes ten times as long."""
    last = graph.node("Transpose", [x], f"{layer.name}/channels_last", perm=(0, 2, 3, 4, 1))
    maps = graph.cast(last, np.float32, "output_cast")
    if layer.overlap:
        return graph.node("Sigmoid", [maps], f"{layer.name}/sigmoid")
    return graph.node("Softmax", [maps], f"{layer.name}/softmax", axis=-1)


def _same(graph: _Graph, layer: keras.layers.Layer, x: str) -> str:
    """What changes nothing when a network is put to work: dropout, and the marks of levels."""
    return x


def _numpy(weight: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(weight), np.float64)


_WRITERS: dict[type, Callable[..., str]] = {
    SharedDilatedConv3D: _dilated,
    keras.layers.Conv3D: _lone_convolution,
    keras.layers.Add: _sum,  # of networks trained before `SharedDilatedConv3D` took a summand
    keras.layers.SpatialDropout3D: _same,
    keras.layers.Identity: _same,
    MaxPool3D: _pool,
    PadToMultiple: _pad,
    CropLike: _crop,
    Probabilities: _probabilities,
}
