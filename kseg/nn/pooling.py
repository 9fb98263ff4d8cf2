"""Max pooling for TensorFlow without oneDNN, whose own gradient takes a third of a training step there."""

from collections.abc import Sequence
from typing import Any

from keras import KerasTensor, ops

from kseg.nn.depth_to_space import depth_to_space, space_to_depth
from kseg.nn.xla_compiled import compiled

AXES = (3, 2, 1)  # of `(batch, x, y, z, channels)`


def max_pool(x: KerasTensor, sizes: Sequence[int]) -> KerasTensor:
    """Return the largest value of each block of `sizes` voxels; of equal ones the first gets the gradient.

    Args:
        x: `(batch, x, y, z, channels)`; x, y, z are multiples of `sizes`.
        sizes: voxels of a block along x, y, z.
    """
    sizes = tuple(sizes)

    @ops.custom_gradient
    def pool(x: KerasTensor) -> Any:
        def gradient(*args: KerasTensor, upstream: KerasTensor = None) -> KerasTensor:
            return compiled(_gradient, sizes=sizes)(x, args[0] if upstream is None else upstream)

        return compiled(_pool, sizes=sizes)(x), gradient

    return pool(x)


def _pool(x: KerasTensor, sizes: Sequence[int]) -> KerasTensor:
    return _stages(x, sizes)[-1]


def _gradient(x: KerasTensor, upstream: KerasTensor, sizes: Sequence[int]) -> KerasTensor:
    stages = _stages(x, sizes)
    for axis, maps, largest in reversed(list(zip(AXES, stages[:-1], stages[1:], strict=True))):
        upstream = _spread(maps, largest, upstream, axis, sizes[axis - 1])
    return upstream


def _stages(x: KerasTensor, sizes: Sequence[int]) -> list[KerasTensor]:
    """Return `x`, and `x` pooled along one more axis each time."""
    stages = [x]
    for axis in AXES:
        first, *others = space_to_depth(stages[-1], axis, sizes[axis - 1])
        for other in others:
            first = ops.maximum(first, other)
        stages.append(first)
    return stages


def _spread(maps: KerasTensor, largest: KerasTensor, upstream: KerasTensor, axis: int, size: int) -> KerasTensor:
    """Give the gradient of `largest` to the first of the neighbours along `axis` that equals it."""
    left = upstream
    parts = []
    for neighbour in space_to_depth(maps, axis, size):
        chosen = ops.equal(neighbour, largest)
        parts.append(ops.where(chosen, left, 0.0))
        left = ops.where(chosen, 0.0, left)
    return depth_to_space(parts, axis)
