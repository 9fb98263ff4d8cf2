"""Scans of any origin, ready to be loaded one by one: files of a dataset, or the phantom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError
from kseg.recipe.sections import Recipe
from kseg.records.schema import label_dtype
from kseg.volumes.cases import Case, find_cases
from kseg.volumes.labels import LabelMap
from kseg.volumes.phantom import LABELS, Phantom, phantom_volume, phantoms
from kseg.volumes.read import read_image, read_labels
from kseg.volumes.volume import Volume

PHANTOM = "phantom"


@dataclass(frozen=True)
class Scan:
    """A case that can be loaded.

    `split` is "train", "val", "test", or "" where the source leaves it open; `load()` returns the image
    `(x, y, z, channels)` and the class indices `(x, y, z)`, and raises `InputError` for a bad file.
    """

    case: str
    subject: str
    split: str
    load: Callable[[], tuple[Volume, np.ndarray]]


@dataclass(frozen=True)
class ScanList:
    """All scans of a dataset, with what they have in common."""

    channels: tuple[str, ...]
    labels: LabelMap
    scans: tuple[Scan, ...]


def find_scans(recipe: Recipe) -> ScanList:
    """Return the scans that `data.source` names; none of them is loaded yet.

    Raises:
        InputError: the source is not understood, or its labels have no names.
    """
    scans = _phantom_scans(recipe) if recipe.data.source == PHANTOM else _scans_of_files(recipe)
    return only_classes(scans, recipe.data.classes) if recipe.data.classes else scans


def only_classes(found: ScanList, names: Sequence[str]) -> ScanList:
    """Return the same scans with these foreground classes, in the order of the label map; the others are background.

    Raises:
        InputError: a name is not one of a foreground class.
    """
    known = found.labels.names[1:]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"data.classes has '{unknown[0]}', which is no foreground class: known are {', '.join(known)}")
    kept = [0, *(index for index, name in enumerate(known, start=1) if name in names)]
    labels = LabelMap(tuple(found.labels.names[i] for i in kept), tuple(found.labels.values[i] for i in kept))
    table = np.zeros(found.labels.num_classes, label_dtype(labels.num_classes))
    table[kept] = range(len(kept))

    def load(scan: Scan) -> tuple[Volume, np.ndarray]:
        image, indices = scan.load()
        return image, table[indices]

    return replace(found, labels=labels, scans=tuple(replace(scan, load=partial(load, scan)) for scan in found.scans))


def _scans_of_files(recipe: Recipe) -> ScanList:
    found = find_cases(Path(recipe.data.source))
    labels = LabelMap.from_json(recipe.data.labels) if recipe.data.labels else found.labels
    if labels is None:
        raise InputError(
            f"'{recipe.data.source}' names no labels: give each value a name with data.labels, for example "
            "'data.labels={background = 0, soleus = 100}'"
        )
    scans = (Scan(case.case, case.subject, case.split, partial(_load, case, labels)) for case in found.cases)
    return ScanList(found.channel_names, labels, tuple(scans))


def _load(case: Case, labels: LabelMap) -> tuple[Volume, np.ndarray]:
    image = read_image(case.images, case.case)
    return image, read_labels(case.label, labels, image, case.case)


def _phantom_scans(recipe: Recipe) -> ScanList:
    options = recipe.phantom
    look = {"difficulty": options.difficulty, "muscle_scale": options.muscle_scale}
    drawn = phantoms(options.subjects, options.shape, seed=recipe.seed, **look)
    scans = (Scan(case, subject, "", partial(_draw, phantom)) for case, subject, phantom in drawn)
    return ScanList(("ultrasound",), LABELS, tuple(scans))


def _draw(phantom: Phantom) -> tuple[Volume, np.ndarray]:
    image, labels = phantom_volume(phantom)
    image = replace(image, array=image.array[..., np.newaxis])
    return image, LABELS.to_indices(labels.array, "the phantom")
