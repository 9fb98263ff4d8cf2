"""Voxels of several phases side by side along an axis, as ONNX nodes: what up-sampling comes to.

`Resize` is not used: ONNX Runtime's takes longer than a convolution and all nodes of this kind together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kseg.deployment.onnx_nodes import Nodes

X, Y, Z = 2, 3, 4  # axes of `(batch, maps, x, y, z)`
SPACE = (X, Y, Z)


@dataclass
class Sizes:
    """Shapes for `Reshape`, computed from the sizes of a value while the graph runs, each by one group of nodes.

    `name` begins the names of the nodes; `x` is the value `(batch, maps, x, y, z)`.
    """

    graph: Nodes
    name: str
    x: str
    space: str = ""
    known: dict[tuple[int, ...], str] = field(default_factory=dict)

    def shape(self, factors: Sequence[int], margins: Sequence[int] = (0, 0, 0)) -> str:
        """Return the shape of maps in a space `factors` times as large, with margins around it."""
        key = (*factors, *margins)
        if key not in self.known:
            graph = self.graph
            if not self.space:
                self.space = graph.node("Shape", [self.x], f"{self.name}/space", start=X)
            name = f"{self.name}/shape_{len(self.known)}"
            sizes = graph.node("Mul", [self.space, graph.constant(f"{name}/factors", list(factors))], f"{name}/scaled")
            if any(margins):
                both = graph.constant(f"{name}/margins", [2 * margin for margin in margins])
                sizes = graph.node("Add", [sizes, both], f"{name}/sizes")
            as_they_are = graph.constant(f"{name}/batch_and_maps", [0, 0])
            self.known[key] = graph.node("Concat", [as_they_are, sizes], name, axis=0)
        return self.known[key]


def interleaved(graph: Nodes, name: str, phases: Sequence[str], axis: int, shape: str) -> str:
    """Add the nodes that put voxels of one phase after the other's; return the value with all of them.

    Args:
        graph: where nodes are added.
        name: that of the last of them.
        phases: values `(batch, maps, x, y, z)`.
        axis: `X`, `Y` or `Z`.
        shape: value with the shape of the result, which has the axis so many times as long.
    """
    if axis < Z:  # side by side along the next axis, voxels lie in memory where they belong
        return graph.node("Reshape", [graph.node("Concat", phases, f"{name}/phases", axis=axis + 1), shape], name)
    first = graph.constant(f"{name}/first", [0])
    apart = [graph.node("Unsqueeze", [one, first], f"{name}/apart_{number}") for number, one in enumerate(phases)]
    stacked = graph.node("Concat", apart, f"{name}/phases", axis=0)
    together = graph.node("Transpose", [stacked], f"{name}/together", perm=(1, 2, 3, 4, 5, 0))
    return graph.node("Reshape", [together, shape], name)
