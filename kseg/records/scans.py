"""Scans of any origin, ready to be opened one by one: files of a dataset, or the phantom."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.terminal import progress
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Spacing
from kseg.simulation.phantom import LABELS, Phantom, phantom_volume, phantoms
from kseg.storage.files import sha256_of
from kseg.storage.locations import local
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.cases.case import Case, CaseList
from kseg.volumes.cases.find import find_cases
from kseg.volumes.cases.folder import values_in
from kseg.volumes.channels import check_channels, names_by_file
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.formats.extensions import is_unicode
from kseg.volumes.interpolation import by_label, linear
from kseg.volumes.labels import LabelMap, labels_to_paste, labels_with
from kseg.volumes.read import open_headers, open_image, open_labels
from kseg.volumes.regions import regions_by_name
from kseg.volumes.resample import NONE_KEPT, at_spacing
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, stream_of_volume

PHANTOM = "phantom"
FEWEST_CLASSES = 2
EVERY_SLICE = Annotation()


class ScanHashes(NamedTuple):
    """SHA-256 of all that a case is made from, and of its image alone, which stays where labels are corrected."""

    origin: str
    image: str


@dataclass(frozen=True)
class Scan:
    """A case that can be opened.

    `split` is "train", "val", "test", or "" where the source leaves it open. `open()` returns the image and the class
    indices as streams; it raises `InputError` for a bad file, and so does reading the streams. `hashes()` are of
    what the case is made from. `truth()`, where `open()` resamples, opens the class indices on the scan's own grid.
    `check()`, where the scan is in files, raises `InputError` for what is wrong with their headers, and reads nothing
    else. All can be sent to another process.
    """

    case: str
    subject: str
    split: str
    open: Callable[[], tuple[VolumeStream, VolumeStream]]
    hashes: Callable[[], ScanHashes]
    truth: Callable[[], VolumeStream] | None = None
    check: Callable[[], None] | None = None


@dataclass(frozen=True)
class ScanList:
    """All scans of a dataset, with what they have in common; `spacing_mm` is empty where each keeps its own.

    `every_label` has those of the files, where `labels` are some of them alone. `annotation` says which slices of the
    files count.
    """

    channels: tuple[str, ...]
    labels: LabelMap
    scans: tuple[Scan, ...]
    spacing_mm: Spacing = ()
    every_label: LabelMap | None = None
    annotation: Annotation = EVERY_SLICE

    @property
    def labels_of_files(self) -> LabelMap:
        """All classes that the label files may hold."""
        return self.every_label or self.labels

    @property
    def other_labels(self) -> dict[str, int]:
        """Those of the files that are background here: name -> value."""
        return {name: value for name, value in self.labels_of_files.to_json().items() if name not in self.labels.names}


def find_scans(recipe: Recipe) -> ScanList:
    """Return the scans that `data.source` names, not opened yet; where it does not state their channels, one is.

    What is wrong with one, a file that is missing too, is told when it is opened, or by its `check`.

    Raises:
        InputError: the source is not understood, its labels have no names, its regions are none, or its images may be
            colours.
    """
    scans = _phantom_scans(recipe) if recipe.data.source == PHANTOM else _scans_of_files(recipe)
    if recipe.data.regions and scans.labels.regions:  # of a dataset.json, which the recipe's replace
        scans = replace(scans, labels=replace(scans.labels, regions=()))
    if recipe.data.classes:
        scans = only_classes(scans, recipe.data.classes)
    if recipe.data.regions:
        scans = replace(scans, labels=with_regions(scans.labels, recipe.data.regions))
    return at_one_spacing(scans, recipe.data.spacing_mm) if recipe.data.spacing_mm else scans


def only_classes(found: ScanList, names: Sequence[str]) -> ScanList:
    """Return the same scans with these foreground classes, in the order of the label map; the others are background.

    Raises:
        InputError: a name is not one of a foreground class, or there are regions, whose labels may be missing.
    """
    if found.labels.regions:
        raise InputError(
            f"data.classes would leave labels out of the regions {', '.join(found.labels.structure_names)}: give the "
            f"regions that are to be learned as data.regions, of the labels {', '.join(found.labels.names[1:])}"
        )
    known = found.labels.names[1:]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"data.classes has '{unknown[0]}', which is no foreground class: known are {', '.join(known)}")
    kept = [0, *(index for index, name in enumerate(known, start=1) if name in names)]
    names, values = found.labels.names, found.labels.values
    labels = LabelMap(tuple(names[i] for i in kept), tuple(values[i] for i in kept), found.labels.ignore)
    table = found.labels.indices_among(labels)
    scans = tuple(replace(scan, open=partial(_open_reduced, scan.open, table)) for scan in found.scans)
    return replace(found, labels=labels, scans=scans, every_label=found.labels_of_files)


def with_regions(labels: LabelMap, regions: Mapping[str, Sequence[str]]) -> LabelMap:
    """Return a label map with the regions of a recipe: for each the names of its labels.

    Raises:
        InputError: they are not those of this label map, or cannot tell its labels apart.
    """
    try:
        return replace(labels, regions=regions_by_name(regions, labels.names))
    except InputError as error:
        raise InputError(f"data.regions: {error}") from None


def at_one_spacing(found: ScanList, spacing_mm: Spacing) -> ScanList:
    """Return the same scans resampled to `spacing_mm`: images linearly, labels class by class."""
    scans = tuple(
        replace(
            scan,
            open=partial(_open_resampled, scan.open, spacing_mm, scan.case, found.labels, found.annotation),
            truth=partial(_open_truth, scan.open),
        )
        for scan in found.scans
    )
    return replace(found, scans=scans, spacing_mm=spacing_mm)


def scan_in_memory(case: str, subject: str, split: str, image: Volume, labels: np.ndarray) -> Scan:
    """Return the scan of a volume `(x, y, z)` or `(x, y, z, channels)` and its class indices `(x, y, z)`."""
    return Scan(
        case, subject, split, partial(_open_memory, image, labels), partial(_hashes_of_memory, image.array, labels)
    )


def _open_memory(image: Volume, labels: np.ndarray) -> tuple[VolumeStream, VolumeStream]:
    return stream_of_volume(image), stream_of_volume(replace(image, array=labels))


def _hashes_of_memory(image: np.ndarray, labels: np.ndarray) -> ScanHashes:
    of_image = hashlib.sha256(image.tobytes())
    everything = of_image.copy()
    everything.update(labels.tobytes())
    return ScanHashes(everything.hexdigest(), of_image.hexdigest())


def _open_reduced(
    open_all: Callable[[], tuple[VolumeStream, VolumeStream]], table: np.ndarray
) -> tuple[VolumeStream, VolumeStream]:
    image, labels = open_all()
    return image, labels.mapped(table.__getitem__, table.dtype)


def _open_resampled(
    open_own: Callable[[], tuple[VolumeStream, VolumeStream]],
    spacing_mm: Spacing,
    case: str,
    label_map: LabelMap,
    annotation: Annotation,
) -> tuple[VolumeStream, VolumeStream]:
    image, labels = open_own()
    kept, in_part = NONE_KEPT, label_map.ignore is not None or annotation.across != "none"
    if in_part and any(new > old for new, old in zip(spacing_mm, labels.spacing_mm, strict=True)):
        kept = annotation.planes_to_keep(labels, label_map.num_classes)
    try:
        of_labels = partial(by_label, ignored=label_map.num_classes)
        return at_spacing(image, spacing_mm, linear), at_spacing(labels, spacing_mm, of_labels, kept)
    except InputError as error:
        raise InputError(f"case '{case}': {error}") from None


def _open_truth(open_own: Callable[[], tuple[VolumeStream, VolumeStream]]) -> VolumeStream:
    return open_own()[1]


def _scans_of_files(recipe: Recipe) -> ScanList:
    if "://" in recipe.data.source:
        raise InputError(
            f"data.source '{recipe.data.source}' must be a folder or file of a disk: copy it to one, or mount it; "
            "data.records may lie in a store"
        )
    if not is_unicode(recipe.data.source):
        raise InputError(f"data.source {recipe.data.source!r} is a name that is not UTF-8: rename it")
    found = find_cases(local(recipe.data.source), missing_ok=True)
    labels = LabelMap.from_json(recipe.data.labels) if recipe.data.labels else found.labels
    if labels is None:
        raise _nameless_labels(recipe.data.source, found)
    if recipe.data.labels and found.labels and found.labels.regions and not recipe.data.regions:
        say(
            f"note: data.labels makes classes that exclude each other of the regions "
            f"{', '.join(found.labels.structure_names)} of '{recipe.data.source}': add data.regions to keep some"
        )
    annotation = _annotation(recipe, labels)
    channels = found.channel_names
    if not found.channels_stated:
        channels = names_by_file(channels[0], (case.images[0] for case in found.cases if not case.lacking))
        if len(channels) > 1:
            say(
                f"note: each image of '{recipe.data.source}' holds {len(channels)} channels, {', '.join(channels)}: "
                "if they are moments in time, make a case of each"
            )
    scans = (
        Scan(
            *(case.case, case.subject, case.split),
            partial(_open, case, channels, labels, annotation, recipe.data.assume_spacing_mm),
            partial(_hashes_of_files, case),
            check=partial(_check, case, channels, labels, recipe.data.assume_spacing_mm),
        )
        for case in found.cases
    )
    return ScanList(channels, labels, tuple(scans), annotation=annotation)


def _annotation(recipe: Recipe, labels: LabelMap) -> Annotation:
    """Which slices count, by the recipe; `InputError` where the value of empty ones is a class's."""
    annotation = Annotation(across=recipe.data.annotated_slices, empty_value=recipe.data.empty_slices)
    annotation.label_map_of_files(labels)
    return annotation


def _open(
    case: Case, channels: tuple[str, ...], labels: LabelMap, annotation: Annotation, assume_spacing_mm: Spacing
) -> tuple[VolumeStream, VolumeStream]:
    _check_whole(case)
    image = open_image(case.images, case.case, assume_spacing_mm)
    check_channels(image, f"case '{case.case}'", "the dataset has", len(channels), channels)
    in_file = open_labels(case.label, annotation.label_map_of_files(labels), image, case.case, assume_spacing_mm)
    return image, annotation.of_annotated_slices(in_file, labels.num_classes)


def _check(case: Case, channels: tuple[str, ...], labels: LabelMap, assume_spacing_mm: Spacing) -> None:
    _check_whole(case)
    image = open_headers(case.images, case.case, assume_spacing_mm)
    check_channels(image, f"case '{case.case}'", "the dataset has", len(channels), channels)
    open_labels(case.label, labels, image, case.case, assume_spacing_mm)


def _check_whole(case: Case) -> None:
    if lacking := case.lacking:
        raise InputError(lacking)


def _nameless_labels(source: str, found: CaseList) -> InputError:
    """Return the error about labels without names, with all values that they have: their files are read."""
    values: set[int] = set()
    for case in progress(found.cases, "values of label maps"):
        with suppress(InputError):  # which is told once the labels have names
            values |= values_in(case.label)
    labels = labels_with({}, values)
    if len(labels) < FEWEST_CLASSES:
        labels = {"background": 0, "soleus": 100}
    return InputError(
        f"'{source}' names no labels: give each value a name with data.labels, for example {labels_to_paste(labels)}"
    )


def _hashes_of_files(case: Case) -> ScanHashes:
    of_image = [_digest(file) for path in case.images for file in files_of(path)]
    of_label = [_digest(file) for file in files_of(case.label)]
    return ScanHashes(_joined([*of_image, *of_label]), _joined(of_image))


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    """A hash of a file's content; a bad case may lack the file, or the right to read it."""
    try:
        return sha256_of(file) if file.is_file() else "unreadable"
    except OSError:
        return "unreadable"


def _phantom_scans(recipe: Recipe) -> ScanList:
    options = recipe.phantom
    look = {"difficulty": options.difficulty, "muscle_scale": options.muscle_scale}
    drawn = phantoms(options.subjects, options.shape, seed=recipe.seed, **look)
    annotation = _annotation(recipe, LABELS)
    scans = (
        Scan(case, subject, "", partial(_draw, phantom, annotation), partial(_hashes_of_phantom, phantom))
        for case, subject, phantom in drawn
    )
    return ScanList(("ultrasound",), LABELS, tuple(scans), annotation=annotation)


def _draw(phantom: Phantom, annotation: Annotation) -> tuple[VolumeStream, VolumeStream]:
    image, labels = phantom_volume(phantom)
    indices = annotation.label_map_of_files(LABELS).to_indices(labels.array, "the phantom")
    image_stream, label_stream = _open_memory(image, indices)
    return image_stream, annotation.of_annotated_slices(label_stream, LABELS.num_classes)


def _hashes_of_phantom(phantom: Phantom) -> ScanHashes:
    drawn = hashlib.sha256(repr(phantom).encode()).hexdigest()
    return ScanHashes(drawn, drawn)
