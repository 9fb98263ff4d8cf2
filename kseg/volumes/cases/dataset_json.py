"""Cases that a dataset.json describes: nnU-Net raw (v1, v2), the Medical Segmentation Decathlon, MONAI's data lists.

No single key says which of them a file is: converters leave `training` in nnU-Net v2's, v1's lists files by names that
are not on the disk, and MONAI's uses the Decathlon's keys. So each way of reading that the keys allow is tried, the
likeliest first, and the first one whose files are all there is taken:

1. `dataset`: nnU-Net v2's own list, and nothing but that.
2. `file_ending`: nnU-Net v2's folders, imagesTr/CASE_0000.ext, a file a channel, beside labelsTr/CASE.ext; or
   imagesTr/CASE.ext, one file with all channels. Where imagesTs and labelsTs both exist their cases are to test.
3. `training`: pairs of image and label; the image a file, or a list of one file a channel; or, as in nnU-Net v1, a
   name without the `_0000` that its files have. `validation`, and `test` where a label is given or lies in labelsTs,
   are the other splits. MONAI's `fold` is passed over: `kseg.train --folds` draws its own.
"""

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted
from kseg.volumes.cases.case import Case, CaseList, path_as_listed
from kseg.volumes.cases.dataset_json_labels import label_map_of
from kseg.volumes.cases.dataset_json_schema import DatasetJson, Labelled, Unlabelled, load_dataset_json
from kseg.volumes.formats.extensions import EXTENSIONS, split_name

DATASET_FILE = "dataset.json"
CHANNEL = re.compile(r"_\d{4}")  # what nnU-Net puts behind the name of a case
SEPARATORS = re.compile(r"([ _.-])")
Cases = tuple[Case, ...]


class _Reading(NamedTuple):
    """Cases as one way of reading has them; `spelt_out` if each of their files is listed by its name."""

    cases: Cases
    spelt_out: bool = False


@dataclass(frozen=True)
class _Dataset:
    """A description, and where it lies."""

    file: Path
    said: DatasetJson
    unlabelled: bool
    """Whether cases to test on that have no label count, too."""

    @property
    def folder(self) -> Path:
        return self.file.parent

    def path(self, text: str) -> Path:
        """A file, by its path in the list."""
        return path_as_listed(self.folder, text)


def read_dataset_json(file: Path, unlabelled: bool = False) -> CaseList:
    """Return the cases that a dataset.json describes; hidden files (macOS leaves "._" ones) are none.

    With `unlabelled`, as for cases that are to be segmented, also those to test on that have no label: they have their
    image where it would be.

    Raises:
        InputError: the description is not understood, or does not fit what is on the disk.
    """
    dataset = _Dataset(file, load_dataset_json(file), unlabelled)
    cases, spelt_out = min(_readings(dataset), key=lambda reading: _lacking(reading.cases))
    if unlabelled:
        cases = _without_lost(dataset, cases)
    if dataset.said.file_ending and not dataset.said.dataset and _lacking(cases):
        _check_folders(dataset.folder, _ending(dataset))
    names, stated = _names_of_channels(dataset, cases)
    if not spelt_out:
        _check_for_more_channels(dataset, cases)
        if dataset.said.file_ending:
            _check_for_other_endings(dataset, cases)
    labels = None if dataset.said.labels is None else label_map_of(dataset.said, file)
    name = dataset.said.name if isinstance(dataset.said.name, str) else ""
    return CaseList(name or file.resolve().parent.name, names, labels, cases, stated)


def _without_lost(dataset: _Dataset, cases: Cases) -> Cases:
    """The cases without those to test on that have neither a label nor images, or the name of one that has a label."""
    labelled = {case.case for case in cases if case.label not in case.images}
    kept = tuple(
        case
        for case in cases
        if case.label not in case.images or (case.case not in labelled and all(path.exists() for path in case.images))
    )
    if lost := len(cases) - len(kept):
        said = counted(lost, "scan", "scans")
        say(f"note: {said} to test on of '{dataset.file}' {'is' if lost == 1 else 'are'} not there, or in it twice")
    return kept


def _lacking(cases: Cases) -> float:
    """Share of the files that do not exist; what a reading lacks that comes nearest is what a user is told of."""
    exist = [path.exists() for case in cases for path in (*case.images, case.label)]
    return exist.count(False) / len(exist) if exist else 1.0


def _readings(dataset: _Dataset) -> list[_Reading]:
    said, listed = dataset.said, []
    if said.dataset:
        return [_Reading(tuple(_case(dataset, entry, name=name) for name, entry in said.dataset.items()), True)]
    if not (said.file_ending or said.training is not None):
        raise InputError(
            f"'{dataset.file}' has neither `file_ending` nor `training`, nor `dataset`: nnU-Net's has the first (for "
            'example ".nii.gz"), the Decathlon\'s the second; add one.'
        )
    if said.training is not None:
        listed = [_Reading(_listed(dataset), True), _Reading(_listed(dataset, by_channel=True))]
    if not said.file_ending:
        return listed
    folders = [_Reading(_in_folders(dataset, by_channel)) for by_channel in (True, False)]
    whole = any(_lacking((case,)) == 0 for reading in folders for case in reading.cases)
    return folders if whole else folders + listed  # nnU-Net v2 passes over `training`


def _in_folders(dataset: _Dataset, by_channel: bool) -> Cases:
    """The cases in nnU-Net's folders: all that have a label or an image there."""
    ending, channels = _ending(dataset), dataset.said.channels
    if not channels:
        raise InputError(f'\'{dataset.file}\' names no channels: add `channel_names`, such as {{"0": "MRI"}}.')
    suffixes = [f"_{channel:04d}{ending}" for channel in range(len(channels))] if by_channel else [ending]
    cases = []
    for part, split in (("Tr", ""), ("Ts", "test")):
        images, labels = dataset.folder / f"images{part}", dataset.folder / f"labels{part}"
        if split and not (images.is_dir() and (labels.is_dir() or dataset.unlabelled)):
            continue
        pattern = r"(.+)_\d{4}" if by_channel else "(.+)"
        names = _matches(labels, "(.+)" + re.escape(ending)) | _matches(images, pattern + re.escape(ending))
        for name in sorted(names):
            files = tuple(images / f"{name}{suffix}" for suffix in suffixes)
            label = labels / f"{name}{ending}"
            has_none = split and dataset.unlabelled and not label.exists()
            cases.append(Case(name, name, split, files, files[0] if has_none else label))
    return tuple(cases)


def _listed(dataset: _Dataset, by_channel: bool = False) -> Cases:
    """The cases of `training`, `validation` and `test`; by channel, if a name stands for a file of each, as in v1."""
    said = dataset.said
    tests = (_with_label(dataset, entry) for entry in said.test)
    splits = {"": said.training or [], "val": said.validation, "test": [entry for entry in tests if entry]}
    return tuple(
        _case(dataset, entry, split, by_channel)
        for split, entries in splits.items()
        for entry in entries
        if not dataset.path(entry.images[0]).name.startswith(".")
    )


def _with_label(dataset: _Dataset, entry: Unlabelled) -> Labelled | None:
    """A case to test on with its label: its own, or the one of its name in labelsTs; None where there is neither.

    Where it may be unlabelled, with its image for the label.
    """
    label = entry.label or f"labelsTs/{dataset.path(entry.images[0]).name}"
    if entry.label or (len(entry.images) == 1 and dataset.path(label).is_file()):
        return Labelled(images=list(entry.images), label=label)
    return Labelled(images=list(entry.images), label=entry.images[0]) if dataset.unlabelled else None


def _case(
    dataset: _Dataset, entry: Labelled, split: str = "", by_channel: bool = False, name: str | None = None
) -> Case:
    images, label = [dataset.path(image) for image in entry.images], dataset.path(entry.label)
    if by_channel and len(images) == 1:
        stem, ending = split_name(images[0])
        numbers = range(max(1, len(dataset.said.channels)))
        images = [images[0].with_name(f"{stem}_{number:04d}{ending}") for number in numbers]
    name = name or _name_of(images, label)
    return Case(name, name, split, tuple(images), label)


def _name_of(images: list[Path], label: Path) -> str:
    """The name of a case: that of its image, less what tells its channels apart."""
    stems, of_label = [split_name(image)[0] for image in images], split_name(label)[0]
    if len(stems) == 1:
        return of_label if CHANNEL.fullmatch(stems[0].removeprefix(of_label)) else stems[0]
    if all(stem.startswith(of_label) for stem in stems):
        return of_label
    words = zip(*(SEPARATORS.split(stem) for stem in stems), strict=False)
    common = "".join(word[0] for word in takewhile(lambda word: len(set(word)) == 1, words))
    return common.rstrip(" _.-") or images[0].parent.name


def _names_of_channels(dataset: _Dataset, cases: Cases) -> tuple[tuple[str, ...], bool]:
    """The channels' names, and whether their number is stated: by names, or by a file each."""
    names = dataset.said.channels
    for case in cases:
        files, of_first = len(case.images), len(cases[0].images)
        if files != of_first:
            raise InputError(
                f"case '{case.case}' in '{dataset.file}' has {counted(files, 'image file')}, case '{cases[0].case}' "
                f"{of_first}: all must have the same channels in the same order."
            )
        if names and files not in (1, len(names)):
            raise InputError(
                f"case '{case.case}' in '{dataset.file}' has {counted(files, 'image file')} and names for "
                f"{counted(len(names), 'channel')} ({', '.join(names)}): name one for each file."
            )
    if names or not cases:
        return names or ("image",), True
    files = len(cases[0].images)
    return (("image",), False) if files == 1 else (tuple(f"image_{number}" for number in range(files)), True)


def _check_for_more_channels(dataset: _Dataset, cases: Cases) -> None:
    """`InputError` for a case beside whose channels lie more of them than are named."""
    known = {image for case in cases for image in case.images}
    beside: dict[Path, list[Path]] = {}
    for case in cases:
        folder, (stem, ending) = case.images[0].parent, split_name(case.images[0])
        if stem != f"{case.case}_0000":
            continue
        if folder not in beside:
            beside[folder] = [file for file in sorted(folder.iterdir()) if file not in known]
        for file in beside[folder]:
            if file.name.endswith(ending) and CHANNEL.fullmatch(file.name[: -len(ending)].removeprefix(case.case)):
                raise InputError(
                    f"'{file}' is a channel of case '{case.case}' beyond those that '{dataset.file}' names "
                    f"({', '.join(dataset.said.channels) or len(case.images)}): name it, or remove the file."
                )


def _check_for_other_endings(dataset: _Dataset, cases: Cases) -> None:
    """`InputError` for a label of no case because it is of another type than `file_ending` says: it would be lost."""
    names = {case.case for case in cases}
    for folder in filter(Path.is_dir, {case.label.parent: None for case in cases}):
        for file in sorted(folder.iterdir()):
            ending = next((known for known in EXTENSIONS if file.name.lower().endswith(known)), "")
            if ending and not file.name.startswith(".") and not file.name.endswith(_ending(dataset)):
                if file.name[: -len(ending)] in names:  # a copy
                    continue
                raise InputError(
                    f"'{file}' is no '{_ending(dataset)}', as `file_ending` in '{dataset.file}' says of all files: "
                    "convert it and its image, or move it away."
                )


def _ending(dataset: _Dataset) -> str:
    ending = "." + (dataset.said.file_ending or "").lstrip(".")
    if ending.lower() not in EXTENSIONS:
        raise InputError(
            f"`file_ending` in '{dataset.file}' must be one of {', '.join(EXTENSIONS)}: received "
            f"{dataset.said.file_ending!r}; convert the files."
        )
    return ending


def _check_folders(folder: Path, ending: str) -> None:
    """`InputError` where nnU-Net's folders are both absent, or all files of one end in something else."""
    parts = folder / "imagesTr", folder / "labelsTr"
    if not any(part.is_dir() for part in parts):
        raise InputError(f"'{folder}' lacks nnU-Net's folders imagesTr and labelsTr: put them beside {DATASET_FILE}.")
    for part in filter(Path.is_dir, parts):
        names = [file.name for file in part.iterdir() if file.is_file() and not file.name.startswith(".")]
        if names and not any(name.endswith(ending) for name in names):
            raise InputError(
                f"`file_ending` '{ending}' fits no file in '{part}': files there end in "
                f"{', '.join(sorted({_ending_of(name) for name in names}))}; correct it, images and labels alike."
            )


def _ending_of(name: str) -> str:
    return next((known for known in EXTENSIONS if name.lower().endswith(known)), Path(name).suffix or "nothing")


def _matches(folder: Path, pattern: str) -> set[str]:
    """First group of `pattern` in the names of the files there, less hidden ones."""
    if not folder.is_dir():
        return set()
    found = (re.fullmatch(pattern, file.name) for file in folder.iterdir() if not file.name.startswith("."))
    return {match[1] for match in found if match}
