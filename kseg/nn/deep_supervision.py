"""Deep supervision: the decoder's lower levels are asked for the labels too, while training.

Lee et al., Deeply-Supervised Nets, AISTATS 2015; weights that halve from level to level as in nnU-Net (Isensee et al.,
Nature Methods 2021). The heads belong to the training, not to the network: a model that is put to work has none.
"""

from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np
from keras import KerasTensor, ops

from kseg.nn.losses import classes_of
from kseg.volumes.regions import Members

Loss = Callable[[KerasTensor, KerasTensor], KerasTensor]
Stride = tuple[int, int, int]


def supervised_network(network: keras.Model) -> keras.Model:
    """Return `network` with further outputs: probabilities at each lower level of its decoder, the finest first.

    Args:
        network: made by `kseg.nn.networks.encoder_decoder`; its layers are shared, not copied.
    """
    lower = _levels(network)[1:]
    activation = "sigmoid" if any(getattr(layer, "overlap", False) for layer in network.layers) else "softmax"
    head = partial(keras.layers.Conv3D, network.output_shape[-1], 1, activation=activation, dtype="float32")
    heads = [head(name=f"head_of_{layer.name}")(layer.output) for layer in lower]
    return keras.Model(network.input, [network.output, *heads], name="supervised")


def strides_of(network: keras.Model) -> tuple[Stride, ...]:
    """Return how many voxels along x, y, z a voxel of each output of `supervised_network` covers."""
    stem = [layer.strides for layer in network.layers if layer.name == "stem"]
    strides = [stem[0] if stem else (1, 1, 1)]
    for level in range(1, len(_levels(network))):
        pool_size = network.get_layer(f"pool_{level}").pool_size
        strides.append(tuple(stride * size for stride, size in zip(strides[-1], pool_size, strict=True)))
    return ((1, 1, 1), *strides[1:])


def supervised_loss(
    loss: Loss,
    labels: KerasTensor,
    outputs: Sequence[KerasTensor],
    strides: Sequence[Stride],
    partly_labelled: bool = False,
    regions: Members = (),
) -> KerasTensor:
    """Return the mean of the losses at all levels, each level's weight half that of the finer one.

    Args:
        loss: of labels `(batch, x, y, z)` and probabilities `(batch, x, y, z, classes)`.
        labels: at the resolution of `outputs[0]`.
        outputs: what `supervised_network` returns.
        strides: their `strides_of`.
        partly_labelled: a label of `classes` or more is that of a voxel that nobody labelled.
        regions: class indices of each, where probabilities are theirs (`kseg.nn.losses`).
    """
    weights = [0.5**level for level in range(len(outputs))]
    losses = [
        loss(lower_resolution(labels, output, stride, partly_labelled, regions), output)
        for output, stride in zip(outputs, strides, strict=True)
    ]
    return sum(weight * value for weight, value in zip(weights, losses, strict=True)) / sum(weights)


def lower_resolution(
    labels: KerasTensor, like: KerasTensor, stride: Stride, partly_labelled: bool = False, regions: Members = ()
) -> KerasTensor:
    """Return labels `(batch, x, y, z)` on the grid of `like`: the label in the middle of each block of voxels.

    The blocks start at the first voxel and have `stride` voxels along x, y, z; `like` may reach far beyond the labels,
    where background is. With `partly_labelled` nobody labelled what is beyond them, and a block of which some voxels
    alone are labelled has the label of one of these: single slices would be lost.
    """
    sizes, blocks = ops.shape(labels)[1:], ops.shape(like)[1:4]
    padding = [(0, count * step - size) for size, count, step in zip(sizes, blocks, stride, strict=True)]
    classes = classes_of(like, regions)
    padded = ops.pad(labels, [(0, 0), *padding], constant_values=classes if partly_labelled else 0)
    if not partly_labelled:
        x, y, z = stride
        return padded[:, x // 2 :: x, y // 2 :: y, z // 2 :: z]
    for axis, factor in enumerate(stride, start=1):
        middle_first = np.argsort(np.abs(np.arange(factor) - factor // 2), kind="stable").tolist()
        chosen, *others = [padded[(slice(None),) * axis + (slice(first, None, factor),)] for first in middle_first]
        for other in others:
            chosen = ops.where(ops.less(ops.cast(chosen, "int32"), classes), chosen, other)
        padded = chosen
    return padded


def _levels(network: keras.Model) -> list[keras.layers.Layer]:
    """The maps of the decoder's levels, the finest first."""
    levels = [layer for layer in network.layers if layer.name.startswith("level_")]
    return sorted(levels, key=lambda layer: int(layer.name.rpartition("_")[2]))
