"""The weights with which a run begins that starts from another: `train.start_from` and `train.frozen`."""

from collections.abc import Collection, Sequence

import keras

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.nn.segmenter import Segmenter
from kseg.runs.data_description import DataDescription
from kseg.runs.run_folder import RunFolder
from kseg.runs.start_from import order_of
from kseg.volumes.labels import LabelMap

OUTPUT = "output"
KERNEL_AXES = 5
"""x, y, z, channels, filters; before these branches, where each rate has a kernel of its own."""


def take_weights(model: Segmenter, description: DataDescription, source: RunFolder, run: str) -> tuple[list[str], str]:
    """Give a new model the weights of a trained run, layer by layer, where names and shapes are the same.

    The others, such as those of an output for other classes or regions, stay as they were drawn, even where they have
    the same shape; so do learned penalties. Classes and channels that are the other run's in another order are put into
    this one's.

    Args:
        model: that is to be trained.
        description: of the data that it is trained on.
        source: folder of the trained run.
        run: its name, for messages.

    Returns:
        Names of the layers that were taken, and a sentence on these and those that are new.

    Raises:
        InputError: the run's model is damaged, or no layer of it fits.
    """
    before = source.load_data_description()
    theirs = {layer.name: _by_path(layer) for layer in source.load_model().network.layers}
    maps = _order_of_maps(description.label_map, before.label_map)
    if maps is None:
        theirs.pop(OUTPUT, None)
    channels = order_of(description.channels, before.channels)
    layers = [layer for layer in model.network.layers if layer.weights]
    taken, new = list[str](), list[str]()
    for layer in layers:
        own, other = _by_path(layer), theirs.get(layer.name, {})
        if {path: weight.shape for path, weight in own.items()} == {path: one.shape for path, one in other.items()}:
            for path, weight in own.items():
                value = keras.ops.convert_to_numpy(other[path])
                if layer is layers[0] and channels and value.ndim >= KERNEL_AXES:
                    value = value[..., channels, :]
                if layer.name == OUTPUT and maps:
                    value = value[..., maps]
                weight.assign(value)
            taken.append(layer.name)
        else:
            new.append(layer.name)
    if not taken:
        raise InputError(
            f"train.start_from: no layer of run '{run}' has the name and the shape of one of this network: leave the "
            "section 'network' out of the recipe, so that it is that run's"
        )
    others = f"; new: {', '.join(new)}" if new else ""
    return taken, f"{counted(len(taken), 'layer')} with the weights of run '{run}'{others}"


def freeze(model: Segmenter, parts: Sequence[str], taken: Collection[str]) -> None:
    """Keep the weights of the network's layers of these `parts` as they are: "stem", "encoder", "decoder".

    Norms of a layer that does not learn use their moving statistics, in training too, and keep them.

    Args:
        model: that is to be trained.
        parts: of its network.
        taken: names of the layers whose weights are those of a trained run.

    Raises:
        InputError: the network has no such part, or a layer of it is new.
    """
    for part in parts:
        layers = [layer for layer in model.network.layers if layer.weights and layer.name.partition("_")[0] == part]
        if not layers:
            raise InputError(f"train.frozen: this network has no '{part}': leave it out")
        if new := [layer.name for layer in layers if layer.name not in taken]:
            raise InputError(
                f"train.frozen: {', '.join(new)} of the {part} would keep weights that never learned, since those of "
                f"the run that is started from do not fit: leave '{part}' out"
            )
        for layer in layers:
            layer.trainable = False


def _order_of_maps(own: LabelMap, other: LabelMap) -> list[int] | None:
    """Return which map of another network's output each of this one's is; None where they mean other structures."""
    if own.regions or other.regions:
        return list(range(own.structures.num_maps)) if own.regions == other.regions else None
    foreground = order_of(own.names[1:], other.names[1:])
    return [0, *(1 + index for index in foreground)] if foreground else None


def _by_path(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """A layer's weights by their paths within it."""
    return {weight.path.rpartition(f"{layer.name}/")[2]: weight for weight in layer.weights}
