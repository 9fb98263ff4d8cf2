"""Finding the cases of a dataset: nnU-Net raw, Medical Segmentation Decathlon, or a CSV manifest."""

import os
from collections.abc import Iterator
from pathlib import Path

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import refuse, say
from kseg.recipe.types import SPLITS
from kseg.volumes.cases.case import UNSAFE_NAME, Case, CaseList
from kseg.volumes.cases.csv_manifest import read_csv
from kseg.volumes.cases.dataset_json import DATASET_FILE, read_dataset_json
from kseg.volumes.labels import UNPRINTABLE

FileKey = tuple[int, int] | str

MAX_BYTES = 200  # of a case's name, which pictures and shards bear with some more; disks allow 255
LAYOUTS = (
    f"an nnU-Net folder ({DATASET_FILE} with `file_ending`, imagesTr, labelsTr), a Decathlon folder "
    f"({DATASET_FILE} with `training`), or a CSV manifest (case, subject, split, image..., label)"
)


def find_cases(source: Path, missing_ok: bool = False, images_only: bool = False, unlabelled: bool = False) -> CaseList:
    """Cases of a dataset folder, of its dataset.json (or a list in JSON of another name), or of a CSV manifest.

    - nnU-Net raw, and the Medical Segmentation Decathlon: `kseg.volumes.cases.dataset_json`. The subject is the case.
    - CSV: columns case, subject, split, one or more that begin with `image` (the channels, in order), label.
      Paths are relative to the CSV; a folder holds a DICOM series; the split may be left empty.

    With `images_only`, as for cases that are to be segmented, a CSV needs no columns but case and image, of others
    nothing is read, and files may be missing; with `unlabelled`, too, a dataset.json has also the cases to test on that
    have no label.

    Raises `InputError` for an unknown layout, malformed content, names that are unsafe as file names or stand twice, a
    subject whose cases are in two splits, a scan that is of two subjects, a file that is image and label of a case, and
    what a case lacks (`Case.lacking`; with `missing_ok` that is left to whoever opens the case). Of several faults each
    is told. Any other file that is two things is said.
    """
    if source.is_file() and source.suffix.lower() == ".csv":
        found = read_csv(source, images_only)
    else:
        file = source / DATASET_FILE if source.is_dir() else source
        if file.suffix.lower() != ".json" or not file.is_file():
            raise _no_dataset(source)
        found = read_dataset_json(file, unlabelled)
    _check(found, source, missing_ok or images_only, images_only)
    return found


def _no_dataset(source: Path) -> InputError:
    if not source.exists():
        return InputError(f"'{source}' does not exist: correct the path.")
    tables = sorted(source.glob("*.csv")) if source.is_dir() else []
    remedy = "correct the path."
    if tables:
        remedy = f"a CSV is given itself, as '{tables[0]}'."
    elif source.is_dir():
        remedy = f"correct the path, or let {command_line('init')} list the scans of a folder."
    return InputError(f"'{source}' holds no dataset: looked for {LAYOUTS}; {remedy}")


def _check(found: CaseList, source: Path, missing_ok: bool, images_only: bool) -> None:
    if not (found.cases or found.faults):
        raise InputError(f"'{source}' lists no case: looked for {LAYOUTS}; add some.")
    if unfit := [name for name in found.channel_names if UNPRINTABLE.search(name)]:
        raise InputError(f"channel {unfit[0]!r} in '{source}' must have a name of one line: rename it.")
    faults = [*found.faults, *_faults(found, source, missing_ok)]
    if not (faults or images_only):
        faults = _shared_files(found, source)
    if faults:
        refuse(faults, f"'{source}' has {len(faults)} faults, listed above: correct them.")


def _faults(found: CaseList, source: Path, missing_ok: bool) -> Iterator[str]:
    """Yield what is wrong with each case, at most one thing."""
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for case in found.cases:
        name = case.case.casefold()  # there are disks on which 'Leg' and 'leg' are one file
        other = split_of.setdefault(case.subject, case.split)
        if UNSAFE_NAME.search(case.case) or len(os.fsencode(case.case)) > MAX_BYTES:
            yield (
                f"case {case.case!r} in '{source}' must be fit as a file name, in Unicode, without "
                f"separators or a leading dot, of {MAX_BYTES} bytes at most: rename it."
            )
        elif name in seen:
            yield f"case '{case.case}' stands twice in '{source}': rename or remove one."
        elif case.split not in ("", *SPLITS):
            yield (
                f"split of case '{case.case}' in '{source}' must be {', '.join(SPLITS)} or empty: received "
                f"{case.split!r}; correct it."
            )
        elif other != case.split:
            yield (
                f"subject {case.subject!r} in '{source}' must be in one split: received '{other}' and "
                f"'{case.split}' (case '{case.case}'); a score on a subject seen in training says little."
            )
        elif not missing_ok and (lacking := case.lacking):
            yield lacking
        seen.add(name)


def _shared_files(found: CaseList, source: Path) -> list[str]:
    """Return which scans are of two subjects, and which files are image and label of a case.

    A line of a list was copied then, and not changed; what is learned from would be what is tested on. A file may well
    be two other things, as one blank image where a channel is missing, or a label map of several visits: that is said.
    An image is one by whatever name or link; a label map by its path, since a store of files (git-annex) keeps those
    that are alike, such as empty ones, but once.
    """
    faults: list[str] = []
    said: list[str] = []
    scans: dict[tuple[FileKey, ...], Case] = {}
    first: dict[FileKey, tuple[str, Case]] = {}
    for case in found.cases:
        names = found.channel_names if len(case.images) > 1 else ("image",)
        keys_of = {path: _keys(path) for path in (*case.images, case.label)}
        is_there = all(keys_of[path] for path in case.images)
        other = scans.setdefault(tuple(keys_of[path][-1] for path in case.images), case) if is_there else case
        if other.subject != case.subject:
            faults.append(
                f"the scan of case '{case.case}', subject '{case.subject}', is that of case '{other.case}', subject "
                f"'{other.subject}': one may be tested on what the other has taught. Correct the list, or, if they are "
                "one person, list the cases in a CSV with one subject."
            )
            continue
        for what, path in (*zip(names, case.images, strict=True), ("label", case.label)):
            keys = keys_of[path][: 1 if what == "label" else None]
            before, owner = next((first[key] for key in keys if key in first), (what, case))
            for key in keys:
                first.setdefault(key, (what, case))
            if owner is case and before != what:
                both = f"'{path}' is both {before} and {what} of case '{case.case}'"
                if what == "label":
                    faults.append(f"{both}: correct the list.")
                else:
                    said.append(both)
            elif owner.subject != case.subject:
                said.append(
                    f"{what} '{path}' is of two subjects, '{owner.subject}' (case '{owner.case}') and "
                    f"'{case.subject}' (case '{case.case}')"
                )
    if said and not faults:
        more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        say(f"note: in '{source}', {said[0]}{more}: correct it if that is a mistake")
    return faults


def _keys(path: Path) -> list[FileKey]:
    """Return a file's path, and what is one for all its names and links, unless the disk has no numbers for files.

    There are none of a file that is missing.
    """
    if not path.exists():
        return []
    keys: list[FileKey] = [os.path.abspath(path)]  # noqa: PTH100
    status = path.stat()
    return [*keys, (status.st_dev, status.st_ino)] if status.st_ino else keys
