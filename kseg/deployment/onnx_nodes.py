"""Nodes and constants of an ONNX graph while it is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

TO_THE_END = np.iinfo(np.int64).max
"""The end of a `Slice` that ends with its axis."""


@dataclass
class Nodes:
    """Nodes and constants as they are added; a value goes by the name of the node that makes it.

    `dtype` is that of the maps.
    """

    dtype: np.dtype
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output, which has its name; return that."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray | Sequence[int]) -> str:
        """Add a constant, integers as int64, which ONNX wants for sizes; return its name."""
        array = np.ascontiguousarray(values)
        self.constants.append(
            numpy_helper.from_array(array.astype(np.int64) if array.dtype.kind == "i" else array, name)
        )
        return name

    def weights(self, name: str, values: np.ndarray) -> str:
        """Add a constant of the maps' type; return its name."""
        return self.constant(name, values.astype(self.dtype))

    def slice(self, value: str, name: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> str:
        """Add a `Slice` from and to constant places; return its name."""
        bounds = {"starts": starts, "ends": ends, "axes": axes}
        constants = [self.constant(f"{name}/{which}", places) for which, places in bounds.items()]
        return self.node("Slice", [value, *constants], name)

    def cast(self, value: str, dtype: Any, name: str) -> str:
        """Return `value` in another type than that of the maps, where it is another."""
        if self.dtype == np.dtype(np.float32):
            return value
        return self.node("Cast", [value], name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
