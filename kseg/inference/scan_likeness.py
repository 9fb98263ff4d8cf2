"""Whether a scan is one at all, and one like those that a predictor was trained on."""

from collections.abc import Collection, Mapping
from itertools import chain

from kseg.console.text import counted, some_of
from kseg.inference.predictor import Predictor
from kseg.volumes.cases.folder import whole_values
from kseg.volumes.volume_stream import VolumeStream
from kseg.volumes.watched_stream import WatchedStream

FEW_VALUES = 16
"""A volume of so few whole numbers is a label map: an image of 8 bits, or of a small region, has many times as many."""
MAX_SHOWN = 6


def label_map_values(image: VolumeStream, structures: Mapping[str, Collection[int]]) -> str:
    """Say which values a volume holds that is a label map rather than an image; nothing where it is an image.

    It is read until it has shown that it is an image, which its first planes do.

    Args:
        image: not read yet.
        structures: of the predictor: a volume that holds nothing but its label values is a label map, too.

    Raises:
        InputError: it is damaged.
    """
    if image.channels > 1:
        return ""
    known = {0, *chain.from_iterable(structures.values())}
    values = whole_values(image, max(FEW_VALUES, len(known)))
    if values is None or (len(values) > FEW_VALUES and not values <= known):
        return ""
    return f"{counted(len(values), 'value')}, {some_of([str(value) for value in sorted(values)], MAX_SHOWN)}"


def unlike_training(watched: WatchedStream, predictor: Predictor) -> list[str]:
    """Say in what a scan that has been segmented is unlike those that its predictor was trained on, if it says."""
    if predictor.seen is None or watched.statistics is None:
        return []
    found = predictor.seen.differences(watched.stream.spacing_mm, watched.statistics, predictor.channel_names)
    return [f"is unlike the scans of the training: {difference}" for difference in found]
