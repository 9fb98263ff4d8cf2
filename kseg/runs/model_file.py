"""`model.keras`: a trained model, loaded in Keras' safe mode and checked against what its run's data are."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kseg.console.errors import InputError
from kseg.console.text import counted, first_line, some_of
from kseg.runs.data_description import DataDescription
from kseg.storage.zip_files import check_parts, open_zip

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter

MAX_NAMED: Final = 4
VOLUME_AXES: Final = 5
FAULTS: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError),
    zipfile.BadZipFile,
    MemoryError,
)
"""What Keras, and HDF5 below it, raise for a file that makes no sense to them."""


def load_segmenter(path: Path, description: DataDescription, compiled: bool = False) -> "Segmenter":
    """Load a model file in Keras' safe mode and check that it fits channels and labels.

    Raises:
        InputError: the file is damaged, or is not a model of kseg's for these channels and labels.
    """
    import keras

    from kseg.nn.segmenter import Segmenter

    try:
        with open_zip(path) as archive:
            check_parts(archive)  # what Keras raises for damage depends on where it is
        model = keras.saving.load_model(path, compile=compiled, safe_mode=True)
    except FAULTS as error:
        said = first_line(error)
        raise InputError(
            f"model '{path}' cannot be loaded ({said}): train the run anew with --force, or restore the file"
        ) from None
    if not isinstance(model, Segmenter):
        raise InputError(f"model '{path}' is a {type(model).__name__}, not one that kseg.train wrote")
    structures = description.label_map.structures
    network = model.network
    axes = [len(tensor.shape) for tensor in (*network.inputs, *network.outputs)]
    if axes != [VOLUME_AXES, VOLUME_AXES]:
        raise InputError(
            f"model '{path}' has inputs and outputs of {some_of(list(map(str, axes)), MAX_NAMED)} axes, not one volume "
            f"of {VOLUME_AXES} (batch, x, y, z, channels) each: it is not one that kseg.train wrote"
        )
    channels, maps = network.input_shape[-1], network.output_shape[-1]
    if (channels, maps) != (len(description.channels), structures.num_maps):
        what = ("region", "regions") if structures.overlap else ("class", "classes")
        has = f"{counted(channels, 'channel')} and {counted(maps, *what)}"
        raise InputError(
            f"model '{path}' has {has}, the run's data.json "
            f"{len(description.channels)} and {structures.num_maps}: they do not belong together"
        )
    if model.segmentation_loss.regions != structures.regions:
        raise InputError(
            f"model '{path}' has learned other regions than those of the run's data.json: they do not belong together"
        )
    return model
