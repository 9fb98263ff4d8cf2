"""Networks by name: a preset fixes every choice, an override changes one."""

import inspect
import math
from collections.abc import Sequence
from typing import Any, cast

import keras
from keras import KerasTensor

from kseg.nn.layers import OutputConv3D, Probabilities, SharedDilatedConv3D
from kseg.nn.size_layers import CropLike, MaxPool3D, PadToMultiple, triple
from kseg.recipe.presets import PRESETS

STEM_FILTERS_PER_FILTER = 2
SKIPS = ("none", "add")


def build_network(preset: str, num_classes: int = 2, input_channels: int = 1, **overrides: Any) -> keras.Model:
    """Build a network that maps voxels `(batch, x, y, z, input_channels)` to class probabilities.

    Args:
        preset: `"midl2021"`, the paper's network; `"kseg"`, the one that gives the best masks for its time.
        num_classes: classes, the background (index 0) included; or with `overlap=True` regions, without it.
        input_channels: channels of the volume.
        **overrides: any argument of `encoder_decoder`; for the paper's baseline, `share_kernel=False`.

    Returns:
        A Keras model of any spatial size; its output is `(batch, x, y, z, num_classes)`, float32, sum 1 unless they
        overlap.

    Raises:
        ValueError: unknown preset or override, or an argument out of range.

    Example:
        The paper's network (Al Chanti et al., section 2 and figure 1), and a small one of the same kind:

        >>> import math
        >>> import kseg
        >>> import numpy as np
        >>> network = kseg.build_network("midl2021")  # of two classes
        >>> f"{sum(math.prod(weight.shape) for weight in network.trainable_weights):,}"
        '1,031,606'
        >>> small = kseg.build_network("midl2021", num_classes=4, filters=(2, 4), dilation_rates=(1, 2))
        >>> probabilities = small.predict(np.zeros((1, 10, 12, 7, 1), "float32"), verbose=0)  # any size
        >>> probabilities.shape, bool(np.allclose(probabilities.sum(axis=-1), 1))
        ((1, 10, 12, 7, 4), True)
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {sorted(PRESETS)}. Received {preset!r}.")
    known = set(inspect.signature(encoder_decoder).parameters)
    if unknown := sorted(set(overrides) - known):
        raise ValueError(f"unknown network option {unknown}. Options: {sorted(known)}.")
    if num_classes < 2 and not overrides.get("overlap"):
        raise ValueError(f"`num_classes` counts the background too, so it is at least 2. Received {num_classes}.")
    options = PRESETS[preset] | overrides
    return encoder_decoder(num_classes=num_classes, input_channels=input_channels, name=preset, **options)


def encoder_decoder(
    num_classes: int,
    input_channels: int,
    filters: Sequence[int],
    dilation_rates: Sequence[int] | Sequence[Sequence[int]],
    pooling: int | Sequence[int | Sequence[int]],
    skip: str,
    share_kernel: bool = True,
    norm: str = "batch",
    norm_momentum: float = 0.9,
    negative_slope: float = 0.0,
    residual: bool = False,
    finest_residual: bool = True,
    stem_stride: int | Sequence[int] = 1,
    dropout: float = 0.0,
    overlap: bool = False,
    implementation: str = "auto",
    name: str | None = None,
) -> keras.Model:
    """Chain shared dilated layers and max pooling down, up-sampling and shared dilated layers back up.

    Args:
        num_classes: maps of the softmax, or of sigmoids.
        input_channels: channels of the volume.
        filters: filters of a branch, level by level from the finest; the decoder mirrors them.
        dilation_rates: the rates of every layer, or a list of them for each level: where pooling has left few voxels,
            the taps of a large rate lie outside.
        pooling: pool size after each level: a number, or for each level a number or one for each of x, y, z.
        skip: `"none"`, or `"add"` to add the encoder's maps to the decoder's of the same level.
        share_kernel: see `SharedDilatedConv3D`.
        norm: see `SharedDilatedConv3D`.
        norm_momentum: see `SharedDilatedConv3D`.
        negative_slope: see `SharedDilatedConv3D`.
        residual: adds to the maps of each level, down and up, another layer of them (He et al., CVPR 2016).
        finest_residual: whether it does so on the finest level too, whose layers are what costs time.
        stem_stride: above 1 all levels work at a lower resolution: a strided convolution stands before the first, and
            the output convolution up-samples. Layers at full resolution are what costs time.
        dropout: share of the maps, whole ones, that training leaves out at the bottom and in each decoder level
            (Tompson et al., Efficient Object Localization, CVPR 2015).
        overlap: see `Probabilities`.
        implementation: see `SharedDilatedConv3D`.
        name: the model's name.

    Raises:
        ValueError: an argument is out of range.
    """
    if skip not in SKIPS:
        raise ValueError(f"`skip` must be {' or '.join(map(repr, SKIPS))}. Received {skip!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be a share below 1. Received {dropout!r}.")
    pools, stride = _pools(pooling, len(filters)), triple(stem_stride, "stem_stride")
    rates = _rates(dilation_rates, len(filters))

    def layer(
        x: KerasTensor,
        level: int,
        stage: str,
        upsample: Sequence[int] = (1, 1, 1),
        summand: KerasTensor | None = None,
    ) -> KerasTensor:
        return SharedDilatedConv3D(
            filters[level],
            dilation_rates=rates[level],
            share_kernel=share_kernel,
            upsample=upsample,
            implementation=implementation,
            norm=norm,
            norm_momentum=norm_momentum,
            negative_slope=negative_slope,
            name=f"{stage}_{level + 1}",
        )(x, summand)

    def refine(x: KerasTensor, level: int, stage: str) -> KerasTensor:
        refined = residual and (finest_residual or level > 0)
        return layer(x, level, f"{stage}_residual", summand=x) if refined else x

    def drop(x: KerasTensor, name: str) -> KerasTensor:
        return keras.layers.SpatialDropout3D(dropout, name=name)(x) if dropout else x

    voxels = keras.Input((None, None, None, input_channels), name="voxels")
    multiples = [stride[axis] * math.prod(pool[axis] for pool in pools) for axis in range(3)]
    x = PadToMultiple(multiples, name="pad")(voxels)
    if max(stride) > 1:
        stem = STEM_FILTERS_PER_FILTER * filters[0]
        x = keras.layers.Conv3D(stem, 3, strides=stride, padding="same", name="stem")(x)
    skips = []
    for level, pool in enumerate(pools):
        x = refine(layer(x, level, "encoder"), level, "encoder")
        skips.append(x)
        x = MaxPool3D(pool, implementation=implementation, name=f"pool_{level + 1}")(x)
    x = drop(x, "dropout")
    for level in reversed(range(len(pools))):
        x = layer(x, level, "decoder", upsample=pools[level], summand=skips[level] if skip == "add" else None)
        x = drop(refine(x, level, "decoder"), f"dropout_{level + 1}")
        x = keras.layers.Identity(name=f"level_{level + 1}")(x)  # found by `kseg.nn.deep_supervision`
    # Not 1: with Adam a kernel's weights grow alike, and so few of them are slow to make probabilities clear
    # (docs/results.md, "Fewer layers at full resolution").
    x = OutputConv3D(num_classes, 3, upsample=stride, implementation=implementation, name="output")(x)
    x = Probabilities(implementation=implementation, overlap=overlap, name="probabilities")(x)
    return keras.Model(voxels, CropLike(dtype="float32", name="crop")([x, voxels]), name=name)


def with_options(network: keras.Model, **options: Any) -> keras.Model:
    """Return the same network, weights copied, with other options where its layers have them.

    `implementation="direct"` for plain operations; `dtype="float32"` for one that was trained in mixed precision.
    """
    config = network.get_config()
    for layer in config["layers"]:
        layer["config"] |= {option: value for option, value in options.items() if option in layer["config"]}
    twin = keras.Model.from_config(config)
    twin.set_weights(network.get_weights())
    return twin


def trainable_parameters(network: keras.layers.Layer) -> int:
    """Return how many numbers of a network, or of a layer, are learned: not the norms' moving statistics."""
    return sum(math.prod(weight.shape) for weight in network.trainable_weights)


def _pools(pooling: int | Sequence[int | Sequence[int]], depth: int) -> list[tuple[int, int, int]]:
    sizes = [pooling] * depth if isinstance(pooling, int) else list(pooling)
    if len(sizes) != depth:
        raise ValueError(f"`pooling` must have one entry per level of `filters` ({depth}). Received {pooling!r}.")
    return [triple(size, "pooling") for size in sizes]


def _rates(dilation_rates: Sequence[int] | Sequence[Sequence[int]], depth: int) -> list[Sequence[int]]:
    by_level = [rates for rates in dilation_rates if isinstance(rates, Sequence)]
    if not by_level:
        return [cast(Sequence[int], dilation_rates)] * depth
    if not len(by_level) == len(dilation_rates) == depth:
        raise ValueError(
            f"`dilation_rates` must be numbers, or one list of them per level of `filters` ({depth}). Received "
            f"{dilation_rates!r}."
        )
    return by_level
