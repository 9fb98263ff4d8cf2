"""An axis as (coarse voxel, phase within it): what up-sampling interleaves and pooling takes apart."""

from collections.abc import Sequence

from keras import KerasTensor, ops


def depth_to_space(phases: Sequence[KerasTensor], axis: int) -> KerasTensor:
    """Interleave phases along `axis`, whose size grows by their number."""
    if len(phases) == 1:
        return phases[0]
    stacked = ops.stack(phases, axis=axis + 1)
    shape = ops.shape(stacked)
    return ops.reshape(stacked, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))


def space_to_depth(x: KerasTensor, axis: int, factor: int) -> list[KerasTensor]:
    """Undo `depth_to_space`."""
    if factor == 1:
        return [x]
    shape = ops.shape(x)
    parted = ops.reshape(x, (*shape[:axis], shape[axis] // factor, factor, *shape[axis + 1 :]))
    return ops.unstack(parted, factor, axis=axis + 1)
