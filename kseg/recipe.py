"""The recipe: every choice of an experiment, typed, read from TOML, changed on the command line, checked at once.

A recipe file holds only what differs from the defaults below; an override is one `section.key=value`
argument whose value is written as in TOML (quotes may be left out). Nothing here imports TensorFlow.
"""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from kseg.console.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Sizes = tuple[PositiveInt, PositiveInt, PositiveInt]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """A table of the recipe: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where the scans are, and how they are split."""

    source: str = Field(
        "phantom", description="'phantom', or the path of an nnU-Net or Decathlon folder, or a CSV manifest"
    )
    records: str = Field("tfrecords/phantom", description="folder of the prepared shards and their manifest.json")
    labels: dict[str, int] = Field({}, description="label name -> value in the files; a CSV manifest needs it")
    val_fraction: Fraction = Field(0.15, description="share of the subjects without a split that validate")
    test_fraction: Fraction = Field(0.15, description="share of the subjects without a split that test")
    shards: PositiveInt = Field(5, description="shards a split is written to (never more than its cases)")

    @model_validator(mode="after")
    def _some_train(self) -> "Data":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave subjects to train on (sum below 1)")
        return self


class Phantom(Section):
    """The synthetic leg that `data.source = "phantom"` prepares."""

    subjects: Annotated[int, Field(ge=3)] = Field(12, description="number of synthetic subjects")
    shape: Sizes = Field((64, 64, 96), description="voxels along x, y, z")
    difficulty: Share = Field(0.3, description="0 clear, 1 as hard as freehand ultrasound gets")


class Patches(Section):
    """What the network sees in one step."""

    size: Sizes = Field((96, 96, 96), description="voxels of a patch along x, y, z")
    batch_size: PositiveInt = Field(1, description="patches of a step, over all replicas together")
    foreground_oversampling: Share = Field(0.5, description="share of the patches centred on a foreground voxel")
    per_volume: PositiveInt = Field(4, description="patches cut from a volume each time it is read")
    flip_axes: tuple[Literal["x", "y", "z"], ...] = Field(
        (), description="axes flipped at random; none whose two sides differ"
    )


class Network(Section):
    """The network; what a preset sets may be changed key by key."""

    preset: Literal["midl2021"] = Field("midl2021", description="the paper's network")
    filters: tuple[PositiveInt, ...] | None = Field(None, description="filters per level; its length is the depth")
    dilation_rates: tuple[PositiveInt, ...] | None = Field(None, description="rates at which a kernel is applied")
    share_kernel: bool | None = Field(None, description="one kernel for all rates, or one each")
    pooling: tuple[Sizes, ...] | None = Field(
        None, description="pooling per level and axis, e.g. [[2, 2, 1], [2, 2, 2]]"
    )
    skip: Literal["none", "add"] | None = Field(None, description="'add' adds encoder maps to the decoder's")
    norm_momentum: Fraction | None = Field(None, description="memory of the norm's moving statistics")
    implementation: Literal["auto", "direct", "reuse"] | None = Field(
        None, description="how the dilated convolutions run"
    )

    def overrides(self) -> dict[str, Any]:
        """Return the keys that differ from the preset, as `kseg.build_network` takes them."""
        return self.model_dump(exclude={"preset"}, exclude_none=True)


class Loss(Section):
    """The loss is the sum of the terms below, each times its weight; a weight of 0 leaves a term out."""

    parametric_tversky: NonNegativeFloat = Field(
        1.0, description="weight of the Tversky loss with learned alpha and beta"
    )
    tversky: NonNegativeFloat = Field(0.0, description="weight of the Tversky loss with fixed alpha and beta")
    dice: NonNegativeFloat = Field(0.0, description="weight of the Dice loss")
    cross_entropy: NonNegativeFloat = Field(0.0, description="weight of the cross-entropy")
    alpha: Share = Field(0.5, description="penalty of false positives in `tversky`; beta is 1 - alpha")

    @model_validator(mode="after")
    def _some_term(self) -> "Loss":
        if not (self.parametric_tversky or self.tversky or self.dice or self.cross_entropy):
            raise ValueError("at least one term must have a weight above 0")
        return self


class Train(Section):
    """How long and how fast to learn."""

    epochs: PositiveInt = Field(100, description="epochs at most")
    steps_per_epoch: PositiveInt = Field(50, description="steps of an epoch; validation and checkpoint follow each")
    max_minutes: NonNegativeFloat = Field(0.0, description="wall-clock bound of the whole command; 0 for none")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Keras optimiser (sgd: Nesterov 0.9)")
    learning_rate: PositiveFloat = Field(1e-3, description="learning rate at its peak")
    schedule: Literal["constant", "cosine", "polynomial"] = Field(
        "cosine", description="decay over the run, by steps or time"
    )
    warmup: Fraction = Field(0.02, description="share of the run in which the learning rate rises")
    validation_patches: PositiveInt = Field(16, description="patches, always the same, that choose the best model")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "float32", description="Keras dtype policy"
    )


class Evaluation(Section):
    """How whole volumes are segmented and scored."""

    overlap: Fraction = Field(0.5, description="share by which neighbouring windows overlap")
    batch_size: PositiveInt = Field(1, description="windows segmented at once")
    surface_tolerance_mm: PositiveFloat = Field(1.0, description="tolerance of the normalised surface Dice")


class Recipe(Section):
    """A whole experiment."""

    name: Name = Field("phantom", description="the run: everything of it goes to saved_models/<name>")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(1, description="splits, patches and weights follow from it")
    data: Data = Data()
    phantom: Phantom = Phantom()
    patches: Patches = Patches()
    network: Network = Network()
    loss: Loss = Loss()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    @property
    def records_folder(self) -> Path:
        """Folder of the prepared shards."""
        return Path(self.data.records)

    @property
    def run_folder(self) -> Path:
        """Folder of everything that training writes."""
        return Path("saved_models") / self.name


def load_recipe(path: Path | None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file (`None`: the defaults), apply `key=value` overrides and check the result.

    Raises:
        InputError: names the file, the key, the value received and what is allowed.
    """
    table = _read_toml(path) if path is not None else {}
    for override in overrides:
        _merge(table, _parse_override(override))
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        where = "the recipe" if path is None else f"recipe '{path}'"
        raise InputError(f"{where}: " + "; ".join(_explain(problem) for problem in error.errors())) from None


def split_arguments(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Sort a command's free arguments `[RECIPE] [key=value ...]` into the recipe's path and the overrides.

    Raises:
        InputError: there is more than one recipe.
    """
    overrides = [word for word in words if "=" in word]
    others = [word for word in words if "=" not in word]
    if len(others) > 1:
        raise InputError(f"one recipe at a time, received {others}: changes are written section.key=value")
    return (Path(others[0]) if others else None), overrides


def dump_recipe(recipe: Recipe) -> str:
    """Return the whole recipe, defaults included, as TOML that `load_recipe` reads back."""
    import tomli_w

    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def recipe_keys() -> list[tuple[str, str, str]]:
    """Return (key, default as TOML, description) of every key: for `--help` and the README."""
    rows = [_row(key, field) for key, field in Recipe.model_fields.items() if not _is_section(field)]
    for section, outer in Recipe.model_fields.items():
        if _is_section(outer):
            fields = type(outer.default).model_fields
            rows += [_row(f"{section}.{key}", field) for key, field in fields.items()]
    return rows


def keys_help() -> str:
    """Return the recipe's keys as the closing text of a command's `--help`."""
    rows = recipe_keys()
    width = max(len(f"{key}={default}") for key, default, _ in rows)
    lines = [f"  {f'{key}={default}':<{width}}  {text}" for key, default, text in rows]
    return "overrides, with their defaults:\n" + "\n".join(lines)


def _row(key: str, field: Any) -> tuple[str, str, str]:
    default = "preset" if field.default is None else _toml_value(field.default)
    return key, default, field.description


def _is_section(field: Any) -> bool:
    return isinstance(field.default, Section)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"recipe '{path}' does not exist: give the path of a .toml file, see pipelines/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{path}' cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe '{path}' is not valid TOML: {error}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or key.startswith("-"):
        raise InputError(f"override '{override}' is not understood: write section.key=value, e.g. train.max_minutes=20")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        table: Any = value  # not a TOML value: an unquoted string, such as a path
    for part in reversed(key.strip().split(".")):
        table = {part: table}
    return table


def _merge(table: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = [name for name, _, _ in recipe_keys()]
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "python -m kseg.train --help lists the keys"
        return f"'{key}' is no key of a recipe: {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"'{key}': {message[0].lower()}{message[1:]}. Received {problem['input']!r}" if key else message
