"""A network as an ONNX graph of plain operations, for runtimes that know nothing of TensorFlow.

Patches go in and probabilities come out as Keras has them, channels last; inside, channels come first, as ONNX wants
them. A norm with moving averages becomes part of the convolution before it, computed in float64: a
branch is one `Conv`, dilated by its attribute, and one activation. Operator set 17 holds all that is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import onnx
from keras import ops
from onnx import helper, numpy_helper

import kseg
from kseg.deployment.tensor_names import PROBABILITIES, VOXELS
from kseg.nn.layers import OutputConv3D, Probabilities, SharedDilatedConv3D
from kseg.nn.size_layers import CropLike, MaxPool3D, PadToMultiple

OPERATOR_SET = 17
IR_VERSION = 8
AXES = ("x", "y", "z")


@dataclass
class _Graph:
    """Nodes and constants as they are added; a value goes by the name of the node that makes it.

    `size` (x, y, z) is None where any is taken; `dtype` is that of the maps.
    """

    size: tuple[int, ...] | None
    dtype: np.dtype
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    space: str = ""
    """Value or constant that holds x, y, z before they were padded; none where they were not."""

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray | Sequence[int]) -> str:
        """Add a constant, integers as int64, which ONNX wants for sizes."""
        array = np.ascontiguousarray(values)
        self.constants.append(
            numpy_helper.from_array(array.astype(np.int64) if array.dtype.kind == "i" else array, name)
        )
        return name

    def weights(self, name: str, values: np.ndarray) -> str:
        return self.constant(name, values.astype(self.dtype))

    def cast(self, value: str, dtype: Any, name: str) -> str:
        """Return `value` in another type than that of the maps, where it is another."""
        if self.dtype == np.dtype(np.float32):
            return value
        return self.node("Cast", [value], name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def onnx_model(
    network: keras.Model,
    size: Sequence[int] | None = None,
    dtype: str = "float32",
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
        metadata: written into the model, by key.

    Raises:
        TypeError: a layer is none of kseg's networks.
    """
    graph = _Graph(None if size is None else tuple(size), np.dtype(dtype))
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
    graph.node("Transpose", [values[id(network.output)]], PROBABILITIES, perm=(0, 2, 3, 4, 1))
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
    """One convolution, norm and activation for each rate, concatenated; to these the summand, where there is one."""
    x = _upsampled(graph, layer, x)
    branches = len(layer.dilation_rates)
    weights = {name: _numpy(getattr(layer, name)) for name in ("kernel", "bias", "scale", "shift")}
    if layer.share_kernel:
        weights = {name: np.broadcast_to(one, (branches, *one.shape)) for name, one in weights.items()}
    maps = []
    for index, rate in enumerate(layer.dilation_rates):
        name = (
            f"{layer.name}/rate_{rate}" if layer.dilation_rates.count(rate) == 1 else f"{layer.name}/branch_{index + 1}"
        )
        kernel, bias, scale, shift = (weights[key][index] for key in ("kernel", "bias", "scale", "shift"))
        if layer.norm == "batch":
            of_branch = slice(index * layer.filters, (index + 1) * layer.filters)
            mean, variance = (_numpy(moving)[of_branch] for moving in (layer.moving_mean, layer.moving_variance))
            gain = scale / np.sqrt(variance + layer.norm_epsilon)
            normed = _convolution(graph, name, x, kernel * gain, shift + (bias - mean) * gain, dilation=rate)
        else:
            normed = _normed(
                graph, layer, name, _convolution(graph, name, x, kernel, bias, dilation=rate), scale, shift
            )
        slope = layer.negative_slope
        activation = {"operator": "LeakyRelu", "alpha": slope} if slope else {"operator": "Relu"}
        maps.append(graph.node(inputs=[normed], name=f"{name}/maps", **activation))
    joined = maps[0] if branches == 1 else graph.node("Concat", maps, f"{layer.name}/maps", axis=1)
    return joined if summand is None else graph.node("Add", [joined, summand], f"{layer.name}/sum")


def _normed(
    graph: _Graph, layer: SharedDilatedConv3D, name: str, maps: str, scale: np.ndarray, shift: np.ndarray
) -> str:
    """Instance norm, or group norm of a branch as the instance norm of all its maps laid end to end."""
    single = np.dtype(np.float32)
    maps = graph.cast(maps, single, f"{name}/float32")
    if layer.norm == "instance":
        constants = [
            graph.constant(f"{name}/{key}", v.astype(single)) for key, v in (("scale", scale), ("shift", shift))
        ]
        normed = graph.node("InstanceNormalization", [maps, *constants], f"{name}/normed", epsilon=layer.norm_epsilon)
        return graph.cast(normed, graph.dtype, f"{name}/normed_cast")
    shape = graph.node("Shape", [maps], f"{name}/shape")
    flat = graph.node("Reshape", [maps, graph.constant(f"{name}/flat_shape", [0, 1, -1])], f"{name}/flat")
    plain = [graph.constant(f"{name}/{key}", np.full(1, v, single)) for key, v in (("one", 1), ("zero", 0))]
    normed = graph.node("InstanceNormalization", [flat, *plain], f"{name}/flat_normed", epsilon=layer.norm_epsilon)
    unscaled = graph.node("Reshape", [normed, shape], f"{name}/unscaled")
    gain, offset = (
        graph.constant(f"{name}/{key}", values.astype(single).reshape(-1, 1, 1, 1))
        for key, values in (("scale", scale), ("shift", shift))
    )
    scaled = graph.node("Mul", [unscaled, gain], f"{name}/scaled")
    return graph.cast(graph.node("Add", [scaled, offset], f"{name}/normed"), graph.dtype, f"{name}/normed_cast")


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
    if max(layer.upsample) == 1:
        return x
    scales = graph.constant(f"{layer.name}/factors", np.array([1, 1, *layer.upsample], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", [x, "", scales], f"{layer.name}/upsampled", **how)


def _plain_convolution(graph: _Graph, layer: keras.layers.Conv3D, x: str) -> str:
    """The stem, or the output."""
    if isinstance(layer, OutputConv3D):
        x = _upsampled(graph, layer, x)
    return _convolution(graph, layer.name, x, _numpy(layer.kernel), _numpy(layer.bias), strides=layer.strides)


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
        graph.space = graph.node("Shape", [x], "space", start=2)
        negative = graph.node("Neg", [graph.space], f"{layer.name}/negative")
        divisors = graph.constant(f"{layer.name}/multiples", multiples)
        behind = graph.node("Mod", [negative, divisors], f"{layer.name}/missing")
        before = graph.constant(f"{layer.name}/before", [0] * 7)
        pads = graph.node("Concat", [before, behind], f"{layer.name}/pads", axis=0)
    return graph.node("Pad", [x, pads], layer.name)


def _crop(graph: _Graph, layer: CropLike, x: str, _: str) -> str:
    if not graph.space:
        return x
    starts, axes = graph.constant(f"{layer.name}/starts", [0, 0, 0]), graph.constant(f"{layer.name}/axes", [2, 3, 4])
    return graph.node("Slice", [x, starts, graph.space, axes], layer.name)


def _sum(graph: _Graph, layer: keras.layers.Layer, *maps: str) -> str:
    return graph.node("Add", maps, layer.name)


def _probabilities(graph: _Graph, layer: Probabilities, x: str) -> str:
    maps = graph.cast(x, np.float32, "output_cast")
    if layer.overlap:
        return graph.node("Sigmoid", [maps], f"{layer.name}/sigmoid")
    return graph.node("Softmax", [maps], f"{layer.name}/softmax", axis=1)


def _same(graph: _Graph, layer: keras.layers.Layer, x: str) -> str:
    """What changes nothing when a network is put to work: dropout, and the marks of levels."""
    return x


def _numpy(weight: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(weight), np.float64)


_WRITERS: dict[type, Callable[..., str]] = {
    SharedDilatedConv3D: _dilated,
    keras.layers.Conv3D: _plain_convolution,
    keras.layers.Add: _sum,  # of networks trained before `SharedDilatedConv3D` took a summand
    keras.layers.SpatialDropout3D: _same,
    keras.layers.Identity: _same,
    MaxPool3D: _pool,
    PadToMultiple: _pad,
    CropLike: _crop,
    Probabilities: _probabilities,
}
