"""How many channels an image has, and whether a dataset, a run or a served model takes as many."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.volumes.formats.extensions import NIFTI_EXTENSIONS, split_name
from kseg.volumes.formats.open import open_header
from kseg.volumes.volume_stream import VolumeStream

COLOURS = (3, 4)


def check_channels(image: VolumeStream, what: str, taker: str, number: int, names: Sequence[str] = ()) -> None:
    """Check the channels of an image.

    Args:
        image: not read yet.
        what: stands for it in the message: "case 'leg_1'".
        taker: what it is for, with a verb: "the model takes".
        number: of channels that it must have.
        names: of these, where they are known.

    Raises:
        InputError: it has another number.
    """
    if image.channels == number:
        return
    listed = f" ({', '.join(names)})" if names else ""
    remedy = "all must have the same channels in the same order"
    if image.channels in COLOURS and image.dtype == np.uint8:
        remedy = "if it is a picture in colour, export grey values"
    elif number == 1:
        remedy = "of several moments or measurements, give the one that it is about"
    elif image.channels < number:
        remedy += ", in one file, or a file for each"
    raise InputError(f"{what} has {counted(image.channels, 'channel')}, {taker} {number}{listed}: {remedy}")


def count_channels(path: Path) -> int:
    """Return how many channels a volume holds, by its header. Raises `InputError` as `open_header` does."""
    return open_header(path).channels


def names_by_file(name: str, images: Iterable[Path]) -> tuple[str, ...]:
    """Return the names of the channels of a dataset that states neither their names nor their number.

    The first image that can be opened says how many there are: one is `name`, several are `name_0`, `name_1`, ...

    Raises:
        InputError: its voxels are of three or four bytes side by side, which are colours.
    """
    for path in images:
        try:
            header = open_header(path)
        except InputError:
            continue  # whoever opens the case says so
        number = header.channels
        if number in COLOURS and header.dtype == np.uint8 and split_name(path)[1] not in NIFTI_EXTENSIONS:
            raise InputError(
                f"image '{path}' holds {number} bytes a voxel, as colours do: export grey values; or, if they are "
                "measurements, name them in a dataset.json"
            )
        return (name,) if number == 1 else tuple(f"{name}_{channel}" for channel in range(number))
    return (name,)
