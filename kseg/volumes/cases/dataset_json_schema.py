"""What a dataset.json says, whoever wrote it: nnU-Net v1 and v2, the Decathlon, MONAI's tools.

They agree on what a description holds and differ in how it is written: classes as name -> value or value -> name,
channels under `channel_names` or `modality`, by number, in a list or alone. All are read to one form here.
"""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from kseg.console.errors import InputError
from kseg.console.validation_errors import first_invalid


def _paths(value: Any) -> tuple[str, ...]:
    """A path, or a list of some."""
    paths = value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f"must be a path, or a list of paths: received {value!r}")
    return tuple(paths)


def _one_path(value: Any) -> str:
    if len(paths := _paths(value)) > 1:
        raise ValueError(f"must be one label map, whose values tell the classes apart: received {value!r}")
    return paths[0]


def _channel_names(value: Any) -> tuple[str, ...]:
    """Names by number, which begin at 0 (or 1, as people count) and leave none out; a list of names; or a name."""
    names: list[Any] = value if isinstance(value, list) else [value]
    if isinstance(value, Mapping):
        by_number = {_whole(number): name for number, name in value.items()}
        numbers = sorted(number for number in by_number if number is not None)
        if len(numbers) != len(value) or numbers not in (list(range(len(value))), list(range(1, len(value) + 1))):
            raise ValueError(f"must number the channels 0, 1, 2, ...: received {dict(value)}")
        names = [by_number[number] for number in numbers]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"must name each channel: received {value!r}")
    return tuple(names)


def _labels(value: Any) -> dict[str, int | tuple[int, ...]]:
    """Class name -> value, from that or from value -> name; nnU-Net's regions are names -> lists of values."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"must pair the name of each class with its value: received {value!r}")
    if any(isinstance(content, list) for content in value.values()):
        return {name: _values(name, content) for name, content in value.items()}
    numbered_keys, numbered_values = (_all_whole(side) for side in (value.keys(), value.values()))
    if numbered_keys and all(isinstance(name, str) for name in value.values()) and not numbered_values:
        pairs = [(name, _whole(number)) for number, name in value.items()]
    elif numbered_keys and numbered_values and any(_whole(key) != _whole(content) for key, content in value.items()):
        raise ValueError("holds numbers alone, so that names cannot be told from values: give each class a name")
    else:
        pairs = [(name, _whole(content)) for name, content in value.items()]
    if unfit := [name for name, number in pairs if number is None]:
        raise ValueError(f"must give each class a whole number as its value: {unfit[0]!r} has {value.get(unfit[0])!r}")
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError(f"must name each class once: received {names}")
    return {name: number for name, number in pairs if number is not None}


def _values(name: str, content: Any) -> int | tuple[int, ...]:
    """A label's value, or those of a region's labels."""
    listed = content if isinstance(content, list) else [content]
    values = [_whole(value) for value in listed]
    whole = tuple(value for value in values if value is not None)
    if len(whole) < len(values) or not values:
        raise ValueError(f"must give {name!r} a whole number, or a list of some: received {content!r}")
    return whole if isinstance(content, list) else whole[0]


def _order(value: Any) -> tuple[int, ...]:
    """The label that each region is written as."""
    values = [_whole(number) for number in value] if isinstance(value, list) else [None]
    whole = tuple(number for number in values if number is not None)
    if len(whole) < len(values):
        raise ValueError(f"must list the label that each region is written as, by its value: received {value!r}")
    return whole


def _whole(value: Any) -> int | None:
    """The whole number that a JSON value stands for: 3, "3" or 3.0."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and not isinstance(value, bool) else None


def _all_whole(values: Iterable[Any]) -> bool:
    return all(_whole(value) is not None for value in values)


Paths = Annotated[tuple[str, ...], BeforeValidator(_paths)]
LabelPath = Annotated[str, BeforeValidator(_one_path)]
ChannelNames = Annotated[tuple[str, ...], BeforeValidator(_channel_names)]


class Unlabelled(BaseModel):
    """The image files of a case to test on; some have a label file beside."""

    images: Paths = Field(validation_alias=AliasChoices("image", "images"))
    label: LabelPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value


class Labelled(BaseModel):
    """The image files of a case, and its label file."""

    images: Paths = Field(validation_alias=AliasChoices("image", "images"))
    label: LabelPath


class DatasetJson(BaseModel):
    """The keys that say where cases are, and what they hold; all others (licences, sizes, counts) are passed over.

    `labels` may hold nnU-Net's regions, of several values each; `regions_class_order` are then the values as which they
    are written. `dataset` is nnU-Net v2's list of cases by name; `training`, `validation` and `test` are lists of the
    others. The Decathlon and nnU-Net v1 list test images alone.
    """

    name: Any = None
    channel_names: ChannelNames | None = None
    modality: ChannelNames | None = None
    labels: Annotated[dict[str, int | tuple[int, ...]], BeforeValidator(_labels)] | None = None
    regions_class_order: Annotated[tuple[int, ...], BeforeValidator(_order)] | None = None
    file_ending: str | None = None
    dataset: dict[str, Labelled] | None = None
    training: list[Labelled] | None = None
    validation: list[Labelled] = []
    test: list[Unlabelled] = []

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in order; empty where it gives none."""
        return self.channel_names or self.modality or ()


def load_dataset_json(file: Path) -> DatasetJson:
    """Read and check a dataset.json.

    Raises:
        InputError: it is no JSON object in UTF-8, says one thing in two ways, or holds what is not understood.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=partial(_once, file))
    except json.JSONDecodeError as error:
        raise InputError(
            f"'{file}' is no JSON: {error.msg} in line {error.lineno}, column {error.colno}; fix it there."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{file}' is no UTF-8 text ({error.reason}, byte {error.start}): save it as such.") from error
    except InputError:  # which is a ValueError, too
        raise
    except (RecursionError, ValueError) as error:
        reason = str(error).split(":", 1)[0].split(" while", 1)[0]
        raise InputError(f"'{file}' cannot be read: {reason}; a dataset.json holds names and small numbers.") from error
    if not isinstance(content, dict):
        raise InputError(f"'{file}' must hold a JSON object: received {type(content).__name__}; see nnU-Net's format.")
    try:
        description = DatasetJson.model_validate(content)
    except ValidationError as error:
        first = first_invalid(error)
        received = "" if first.kind in ("missing", "value_error") else f" (received {first.received!r})"
        raise InputError(f"'{file}', `{first.key}`: {first.message}{received}; fix it.") from error
    names = description.channel_names, description.modality
    if all(names) and names[0] != names[1]:
        raise InputError(
            f"'{file}' names other channels in `channel_names` than in `modality`: received {names}; keep one."
        )
    return description


def _once(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of which no key is given twice with two values: the second would replace the first unseen."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if (kept := found.setdefault(key, value)) is not value and kept != value:  # NaN differs from itself
            raise InputError(f"'{file}' has `{key}` twice, as {found[key]!r} and {value!r}: keep one.")
    return found
