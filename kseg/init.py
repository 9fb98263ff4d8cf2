"""`python -m kseg.init`: looks at a folder of scans as it is, and writes the list of its cases and a short recipe."""

import argparse
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kseg.console.command import command_parser, run
from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted, some_of
from kseg.recipe.sections import Recipe
from kseg.recipe.source_name import LISTS, fit_name, source_name
from kseg.recipe.types import SPLITS
from kseg.storage.disk import check_writable
from kseg.storage.locations import local

if TYPE_CHECKING:
    from kseg.volumes.cases.case import Case, CaseList
    from kseg.volumes.cases.pairing import FoundCase

LAYOUT = "case, subject, split, image, label"
MAX_SHOWN = 8
FEW = 5
"""Label maps among which a value that one alone holds may be meant."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write what `kseg.prepare` needs to know of a folder, as far as it can be seen."""
    arguments = _parse(argv)
    folder = local(arguments.folder)
    if not folder.exists():
        raise InputError(f"'{folder}' does not exist: correct the path")
    name = arguments.name or fit_name(source_name(str(folder)))
    recipe, table = Path(f"{name}.toml"), Path(f"{name}.csv")
    source = _listed_source(folder)
    for path in (recipe, table) if source is None else (recipe,):
        if os.path.lexists(path):
            raise InputError(
                f"'{path}' is there already: to add scans, add lines to the CSV; or move it away, or choose "
                "another --name"
            )
    check_writable(Path())
    if source is not None:
        from kseg.volumes.cases.find import find_cases

        listed = find_cases(source, missing_ok=True)
        can_be_prepared = _tell_subjects(listed.cases)
        labels = _labels_of(listed)
    else:
        cases = _found_cases(folder)
        can_be_prepared = _tell_subjects(cases)
        labels = _values_as_labels([folder / case.label for case in cases])
        _write_table(table, folder, cases)
        can_be_prepared &= _is_sound_list(table)
        source = table
    _write_recipe(recipe, name, source, labels)
    can_be_prepared &= labels is None or _are_labels(labels)
    names = "" if labels is None else ": give its labels their names"
    following = f"next: {command_line('prepare')} {shlex.quote(str(recipe))}"
    print(f"{recipe}{names}" + (f"\n{following}" if can_be_prepared else ""))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("init", epilog="It overwrites nothing, and changes nothing in FOLDER.")
    parser.add_argument("folder", metavar="FOLDER", help="where the scans and their label maps are")
    parser.add_argument("--name", metavar="NAME", help="of the recipe, the dataset and the run (default: the folder's)")
    arguments = parser.parse(argv)
    if arguments.name and fit_name(arguments.name) != arguments.name:
        raise InputError(f"--name {arguments.name!r} must be letters, digits, '.', '_' and '-': take another")
    return arguments


def _listed_source(folder: Path) -> Path | None:
    """Return what lists the cases itself: a `dataset.json`, or the only CSV with the columns of a manifest."""
    from kseg.volumes.cases.csv_manifest import read_csv
    from kseg.volumes.cases.dataset_json import DATASET_FILE

    if folder.is_file() and folder.suffix.lower() not in LISTS:
        lists = ", ".join(LISTS)
        raise InputError(f"'{folder}' is one file: name the folder of the scans, or a list of them ({lists})")
    if folder.is_file() or (folder / DATASET_FILE).is_file():
        say(f"'{folder}' lists its cases itself" + ("" if folder.is_file() else f", in {DATASET_FILE}"))
        return folder
    tables = []
    for path in sorted(folder.glob("*.csv")):
        try:
            read_csv(path)
        except (InputError, OSError):
            continue
        tables.append(path)
    if len(tables) > 1:
        names = some_of([str(path) for path in tables], MAX_SHOWN)
        raise InputError(f"{names} list cases: give the one to take")
    if tables:
        say(f"'{tables[0]}' lists the cases")
    return tables[0] if tables else None


def _labels_of(found: "CaseList") -> dict[str, int] | None:
    """Return the labels of a source that names its cases; nothing where it names those, too."""
    missing = [case.case for case in found.cases if not all(path.exists() for path in (*case.images, case.label))]
    if missing:
        say(f"files are missing of {counted(len(missing), 'case')}: {some_of(missing, MAX_SHOWN)}")
    if found.labels is not None:
        named = ", ".join(f"{value} {name}" for name, value in found.labels.in_files)
        say(f"labels: {named}")
        if found.labels.regions:
            say(f"regions: {', '.join(map(str, found.labels.regions))}")
        return None
    return _values_as_labels([case.label for case in found.cases if case.label.exists()])


def _found_cases(folder: Path) -> Sequence["FoundCase"]:
    from kseg.volumes.cases.folder import content_below
    from kseg.volumes.cases.pairing import pair
    from kseg.volumes.formats.extensions import is_unicode

    content = content_below(folder)
    volumes = content.volumes
    if unfit := [path for path in volumes if not is_unicode(str(path))]:
        raise InputError(f"{str(unfit[0])!r} is a name that is not UTF-8: rename it")
    pairing = pair(volumes)
    for case in pairing.cases[:MAX_SHOWN]:
        say(f"{case.case}: {', '.join(map(str, case.images.values()))} with {case.label}")
    if len(pairing.cases) > MAX_SHOWN:
        say(f"... and {len(pairing.cases) - MAX_SHOWN} more")
    for path, reason in pairing.left.items():
        say(f"left out: {path} {reason}")
    for trouble in content.unreadable.values():
        say(f"left out: {trouble}")
    if not pairing.cases:
        raise InputError(
            f"'{folder}' has no scan with a label map among {counted(len(volumes), 'volume')}: label maps are known by "
            f"a word such as mask, label or seg in their names or folders; or list the cases in a CSV ({LAYOUT})"
        )
    if len(pairing.cases) > 1 and all(case.subject == case.case for case in pairing.cases):
        say("each case is taken for another subject: where several are of one, correct the column `subject`")
    return pairing.cases


def _tell_subjects(cases: Sequence["FoundCase | Case"]) -> bool:
    """Say how many there are for each split; whether they are enough for all."""
    from kseg.records.split_by_subject import split_by_subject
    from kseg.volumes.cases.case import Case

    split_of = {case.subject: case.split for case in cases}
    say(f"{counted(len(cases), 'case')} of {counted(len(split_of), 'subject')}")
    everyone = [Case(subject, subject, split, (), Path()) for subject, split in split_of.items()]
    recipe = Recipe()
    try:
        splits = split_by_subject(everyone, recipe.data.val_fraction, recipe.data.test_fraction, recipe.seed)
    except InputError as error:
        say(f"note: {error}")
        return False
    counts = Counter(splits.values())
    say("subjects: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS))
    return True


def _is_sound_list(table: Path) -> bool:
    """Whether `kseg.prepare` will take a list that has just been written; say why not."""
    from kseg.volumes.cases.find import find_cases

    return _passes(lambda: find_cases(table, missing_ok=True))


def _are_labels(labels: Mapping[str, int]) -> bool:
    """Whether `kseg.prepare` will take these labels; say why not."""
    from kseg.volumes.labels import LabelMap

    return _passes(lambda: LabelMap.from_json(labels))


def _passes(check: Callable[[], object]) -> bool:
    try:
        check()
    except InputError as error:
        say(f"note: {error}")
        return False
    return True


def _values_as_labels(paths: Sequence[Path]) -> dict[str, int]:
    from kseg.console.terminal import progress
    from kseg.volumes.cases.folder import values_in
    from kseg.volumes.labels import labels_with

    files_with = defaultdict[int, list[Path]](list)
    for path in progress(paths, "values of label maps", total=len(paths)):
        try:
            for value in values_in(path):
                files_with[value].append(path)
        except InputError as error:
            say(f"note: {error}")
    counts = {value: len(files) for value, files in sorted(files_with.items())}
    say("values: " + ", ".join(f"{value} in {counted(count, 'case')}" for value, count in counts.items()))
    alone_in = defaultdict[Path, list[int]](list)
    for value, (file, *others) in sorted(files_with.items()):
        if value and not others and len(paths) >= FEW:
            alone_in[file].append(value)
    for file, values in alone_in.items():
        say(
            f"note: of {len(paths)} label maps only '{file}' holds {some_of([str(value) for value in values], FEW)}: "
            f"if {'that is' if len(values) == 1 else 'these are'} no structure, correct that label map, and take "
            f"{'its line' if len(values) == 1 else 'their lines'} out of the recipe"
        )
    return labels_with({}, counts)


def _channels(folder: Path, cases: Sequence["FoundCase"]) -> tuple[str, ...]:
    """Names of the columns of images; a single one is named after the modality that all of them state, if they do."""
    from kseg.volumes.formats.dicom import modality_of

    names = tuple(cases[0].images)
    if len(names) > 1:
        return names
    modality = ""
    for image in (image for case in cases for image in case.images.values()):
        try:
            stated = modality_of(folder / image)
        except InputError:  # `kseg.prepare` tells what is wrong with it
            continue
        if not re.fullmatch("[A-Z]{2,16}", stated) or stated != (modality or stated):
            return names
        modality = stated
    return (f"image_{modality.lower()}",) if modality else names


def _write_table(path: Path, folder: Path, cases: Sequence["FoundCase"]) -> None:
    from kseg.volumes.cases.csv_manifest import write_csv

    def beside(file: PurePath) -> str:
        return Path(os.path.relpath(folder / file)).as_posix()

    rows = []
    for case in cases:
        images = map(beside, case.images.values())
        rows.append((case.case, case.subject, case.split, *images, beside(case.label)))
    channels = _channels(folder, cases)
    write_csv(path, rows, channels)
    stated = "" if channels == tuple(cases[0].images) else f"; the column {channels[0]} is named after their modality"
    say(f"wrote {path}: {counted(len(cases), 'line')}{stated}")


def _write_recipe(path: Path, name: str, source: Path, labels: Mapping[str, int] | None) -> None:
    import tomli_w

    from kseg.storage.files import whole_file

    lines = [
        "# What kseg init saw. All else is chosen for the scans and the time; docs/recipe.md lists what may be set.",
        tomli_w.dumps({"name": name}),
        "[data]",
        tomli_w.dumps({"source": source.as_posix()}).rstrip(),
    ]
    if labels is not None:
        lines += ["", "[data.labels] # put your own names before the values", tomli_w.dumps(labels).rstrip()]
    lines += ["", "[train]", "max_minutes = 60"]
    with whole_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
