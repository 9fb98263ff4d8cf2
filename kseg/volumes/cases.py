"""Finding the cases of a dataset: nnU-Net v2 raw, Medical Segmentation Decathlon, or a CSV manifest."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError

from kseg.console.errors import InputError
from kseg.volumes.formats.names import EXTENSIONS, split_name
from kseg.volumes.labels import LabelMap

DATASET_FILE = "dataset.json"
SPLITS = ("", "train", "val", "test")
UNSAFE_NAME = re.compile(r"^\.|[/\\\x00-\x1f\x7f]|^$")  # hidden, '..', a path, unprintable, or nothing
LAYOUTS = (
    f"an nnU-Net folder ({DATASET_FILE} with `file_ending`, imagesTr, labelsTr), a Decathlon folder "
    f"({DATASET_FILE} with `training`), or a CSV manifest (case, subject, split, image..., label)"
)


@dataclass(frozen=True)
class Case:
    """One scan with its labels: an image file for each channel (or one that holds them all)."""

    case: str
    subject: str
    split: str  # "train", "val", "test", or "" for a case that is still to be assigned
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class CaseList:
    """The cases of a dataset; `labels` is None where the source does not name its classes (CSV)."""

    name: str
    channel_names: tuple[str, ...]
    labels: LabelMap | None
    cases: tuple[Case, ...]


def find_cases(source: Path) -> CaseList:
    """Cases of a dataset folder, of its dataset.json, or of a CSV manifest.

    - nnU-Net v2 raw: imagesTr/CASE_0000.ext, a file a channel, and labelsTr/CASE.ext; where imagesTs and
      labelsTs both exist their cases have the split "test". The subject is the case.
    - Medical Segmentation Decathlon: the pairs in dataset.json under `training`. The subject is the case.
    - CSV: columns case, subject, split, one or more that begin with `image` (the channels, in order), label.
      Paths are relative to the CSV; a folder holds a DICOM series; the split may be left empty.

    Raises `InputError` for an unknown layout, malformed or incomplete content, files that are missing, names
    that are unsafe as file names or stand twice, and a subject whose cases are in two splits.
    """
    if source.is_file() and source.suffix.lower() == ".csv":
        found = _from_csv(source)
    else:
        file = source / DATASET_FILE if source.is_dir() else source
        if file.name != DATASET_FILE or not file.is_file():
            raise InputError(f"'{source}' holds no dataset: looked for {LAYOUTS}; correct the path.")
        content = _load_json(file)
        if "training" in content:
            found = _from_decathlon(file, content)
        elif "file_ending" in content:
            found = _from_nnunet(file, content)
        else:
            raise InputError(f"'{file}' has neither `file_ending` nor `training`: looked for {LAYOUTS}.")
    _check(found, source)
    return found


class _Nnunet(BaseModel):
    """dataset.json of nnU-Net v2 (documentation/dataset_format.md there)."""

    name: str = ""
    channel_names: Annotated[dict[int, str], Field(min_length=1)]
    labels: dict[str, int | list[int]]
    file_ending: str


class _Pair(BaseModel):
    image: str
    label: str


class _Decathlon(BaseModel):
    """dataset.json of the Medical Segmentation Decathlon."""

    name: str = ""
    modality: Annotated[dict[int, str], Field(min_length=1)]
    labels: dict[int, str]
    training: list[_Pair]


def _from_nnunet(file: Path, content: dict) -> CaseList:
    dataset, folder = _validated(_Nnunet, content, file), file.parent
    if dataset.file_ending not in EXTENSIONS:
        raise InputError(
            f"`file_ending` in '{file}' must be one of {', '.join(EXTENSIONS)}: received "
            f"{dataset.file_ending!r}; convert the files."
        )
    cases = list(_nnunet_cases(folder, "Tr", "", dataset))
    if (folder / "imagesTs").is_dir() and (folder / "labelsTs").is_dir():
        cases += _nnunet_cases(folder, "Ts", "test", dataset)
    labels = LabelMap.from_json({name: _single(name, value, file) for name, value in dataset.labels.items()})
    return CaseList(dataset.name or _folder_name(file), _in_order(dataset.channel_names), labels, tuple(cases))


def _nnunet_cases(folder: Path, part: str, split: str, dataset: _Nnunet) -> Iterator[Case]:
    ending = re.escape(dataset.file_ending)
    labelled = _matches(folder / f"labels{part}", rf"(.+){ending}")
    imaged = _matches(folder / f"images{part}", rf"(.+)_\d{{4}}{ending}")
    for case in sorted(labelled | imaged):
        channels = range(len(dataset.channel_names))
        images = (folder / f"images{part}" / f"{case}_{channel:04d}{dataset.file_ending}" for channel in channels)
        yield Case(case, case, split, tuple(images), folder / f"labels{part}" / f"{case}{dataset.file_ending}")


def _matches(folder: Path, pattern: str) -> set[str]:
    """First group of `pattern` in the names of the files there, less hidden ones (macOS leaves "._" ones)."""
    if not folder.is_dir():
        return set()
    found = (re.fullmatch(pattern, file.name) for file in folder.iterdir() if not file.name.startswith("."))
    return {match[1] for match in found if match}


def _single(name: str, value: int | list[int], file: Path) -> int:
    if isinstance(value, list):
        raise InputError(
            f"label {name!r} in '{file}' must be one integer: received the region {value}; classes "
            "exclude each other here, list each by itself."
        )
    if name == "ignore":
        raise InputError(
            f"label 'ignore' ({value}) in '{file}' cannot be left out of training: give its voxels a class."
        )
    return value


def _from_decathlon(file: Path, content: dict) -> CaseList:
    dataset, folder = _validated(_Decathlon, content, file), file.parent
    names = list(dataset.labels.values())
    if len(set(names)) != len(names):
        raise InputError(f"`labels` in '{file}' must name each class once: received {names}; rename one.")
    pairs = (pair for pair in dataset.training if not Path(pair.image).name.startswith("._"))
    cases = []
    for image, label in ((folder / pair.image, folder / pair.label) for pair in pairs):
        case = split_name(image)[0]
        cases.append(Case(case, case, "", (image,), label))
    labels = LabelMap.from_json({name: value for value, name in dataset.labels.items()})
    return CaseList(dataset.name or _folder_name(file), _in_order(dataset.modality), labels, tuple(cases))


def _from_csv(file: Path) -> CaseList:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
        try:
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            channels = tuple(column for column in columns if column.startswith("image"))
            missing = [name for name in ("case", "subject", "split", "label") if name not in columns]
            if missing or not channels or len(set(columns)) != len(columns):
                raise InputError(
                    f"'{file}' needs the columns case, subject, split, image (one or more that begin so) and "
                    f"label, each once: received {', '.join(columns) or 'nothing'}; mend its first line."
                )
            cases = [_from_row(row, channels, f"'{file}', line {reader.line_num}", file.parent) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"'{file}', line {reader.reader.line_num}: {error}; save it as UTF-8 CSV.") from error
    return CaseList(file.stem, channels, None, tuple(cases))


def _from_row(row: dict, channels: tuple[str, ...], where: str, folder: Path) -> Case:
    if None in row or None in row.values():
        raise InputError(f"{where} must have a field for each column of the first line: received {row}; mend it.")
    fields = {column: field.strip() for column, field in row.items()}
    if empty := [column for column, field in fields.items() if not field and column != "split"]:
        raise InputError(f"{where} must fill `{empty[0]}`: received nothing; only the split may be empty.")
    images = tuple(folder / fields[channel] for channel in channels)
    return Case(fields["case"], fields["subject"], fields["split"], images, folder / fields["label"])


def _check(found: CaseList, source: Path) -> None:
    if not found.cases:
        raise InputError(f"'{source}' lists no case: looked for {LAYOUTS}; add some.")
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for case in found.cases:
        if UNSAFE_NAME.search(case.case):
            raise InputError(
                f"case {case.case!r} in '{source}' must be fit as a file name, without separators or "
                "a leading dot: rename it."
            )
        if case.case.casefold() in seen:  # there are disks on which 'Leg' and 'leg' are one file
            raise InputError(f"case '{case.case}' stands twice in '{source}': rename or remove one.")
        seen.add(case.case.casefold())
        if case.split not in SPLITS:
            raise InputError(
                f"split of case '{case.case}' in '{source}' must be train, val, test or empty: received "
                f"{case.split!r}; correct it."
            )
        if (other := split_of.setdefault(case.subject, case.split)) != case.split:
            raise InputError(
                f"subject {case.subject!r} in '{source}' must be in one split: received '{other}' and "
                f"'{case.split}' (case '{case.case}'); a score on a subject seen in training says little."
            )
        for what, path in (*(("image", image) for image in case.images), ("label", case.label)):
            if not path.exists():
                raise InputError(f"{what} '{path}' of case '{case.case}' is missing: add it, or drop the case.")


def _load_json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"'{file}' is no JSON: {error.msg} in line {error.lineno}, column {error.colno}; mend it there."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{file}' is no UTF-8 text ({error.reason}, byte {error.start}): save it as such.") from error
    if not isinstance(content, dict):
        raise InputError(f"'{file}' must hold a JSON object: received {type(content).__name__}; looked for {LAYOUTS}.")
    return content


Model = TypeVar("Model", bound=BaseModel)


def _validated(model: type[Model], content: dict, file: Path) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        received = "" if first["type"] == "missing" else f" (received {first['input']!r})"
        raise InputError(f"'{file}', `{entry}`: {first['msg']}{received}; mend it.") from error


def _in_order(names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names[index] for index in sorted(names))


def _folder_name(file: Path) -> str:
    return file.resolve().parent.name
