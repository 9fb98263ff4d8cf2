"""Recipes read from TOML, changed by arguments, and written.

A recipe file holds only what differs from the defaults; an override is one `section.key=value` argument whose value
is written as in TOML (quotes may be left out).
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kseg.console.errors import InputError
from kseg.recipe.explain import COMMAND_LINE, explained
from kseg.recipe.sections import Recipe
from kseg.recipe.toml_faults import toml_fault
from kseg.recipe.types import PLANNED, Section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


ADDED = {
    "data": ("regions", "codes", "annotated_slices"),
    "train": ("start_from", "frozen"),
    "evaluation": ("ensemble",),
}
"""Keys that earlier versions did not have, by section: where they are not used, a recipe is what it was."""
ASSUMED_SPACING = "data.assume_spacing_mm"
"""The key that says how large voxels are in files that do not state it: commands which read any files take it."""
KEY = re.compile(r'\s*[A-Za-z_][\w-]*(\.([\w-]+|"[^"]*"))*\s*', re.ASCII)  # as TOML writes it; a path has more in it


def load_recipe(path: Path | None, overrides: Sequence[str] = (), changed: str = COMMAND_LINE) -> Recipe:
    """Read a recipe file, apply `key=value` overrides and check the result.

    Args:
        path: of a `.toml` file that holds what differs from the defaults; `None` for the defaults.
        overrides: changes to it, as `"section.key=value"`, the value as TOML writes it.
        changed: where the overrides were given, for messages.

    Returns:
        The whole recipe, each section an attribute (`kseg.recipe.sections`, where the units are).

    Raises:
        InputError: names the file, the key, the value received and what is allowed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import kseg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "leg.toml"
        ...     _ = path.write_text('name = "leg"\\n[train]\\nepochs = 20\\nmax_minutes = 60\\n', encoding="utf-8")
        ...     recipe = kseg.load_recipe(path, ["train.epochs=5", "patches.size=[64, 64, 32]"])
        >>> recipe.name, recipe.train.epochs, recipe.train.max_minutes, recipe.patches.size
        ('leg', 5, 60.0, (64, 64, 32))
        >>> recipe.train.learning_rate  # a default
        0.001
    """
    table = read_toml(path) if path is not None else {}
    table.pop("grid", None)  # `kseg.recipe.grid` reads it
    changes = []
    for override in overrides:
        keys, value = _parse_override(override)
        _set(table, keys, value)
        changes.append(_nested(keys, value))
    with explained(Recipe, table, "" if path is None else f"recipe '{path}'", changes, changed):
        return Recipe.model_validate(table)


def split_arguments(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Sort a command's free arguments `[RECIPE] [key=value ...]` into the recipe's path and the overrides.

    Raises:
        InputError: there is more than one recipe.
    """
    overrides = [word for word in words if is_override(word)]
    others = [word for word in words if not is_override(word)]
    if len(others) > 1:
        raise InputError(
            f"one recipe at a time, received {others}: changes are written section.key=value, "
            "those with spaces or brackets in quotes"
        )
    return (Path(others[0]) if others else None), overrides


def files_and_spacing(words: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """Divide a command's free arguments into the files that they name, and the one change that may stand among them.

    Args:
        words: the arguments.
        what: the files are, for the message.

    Returns:
        The files, and `ASSUMED_SPACING` with its value for `load_recipe`, where it is there.

    Raises:
        InputError: another key is changed.
    """
    overrides = [word for word in words if is_override(word)]
    if others := [word for word in overrides if word.partition("=")[0] != ASSUMED_SPACING]:
        raise InputError(
            f"'{others[0]}' is no {what} that is there, nor {ASSUMED_SPACING}=[i, j, k]; names are --labels NAME=VALUE"
        )
    return [word for word in words if word not in overrides], overrides


def is_override(word: str) -> bool:
    """Whether a command's free argument is `section.key=value`: it begins like one, and no file has that name."""
    key, equals, _ = word.partition("=")
    return bool(equals and KEY.fullmatch(key)) and not os.path.exists(word)  # noqa: PTH110 (a Path refuses long values)


def dump_recipe(recipe: Recipe) -> str:
    """Return the whole recipe, defaults included, as TOML that `load_recipe` reads back."""
    import tomli_w

    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def dump_unplanned(recipe: Recipe) -> str:
    """Return the whole recipe as TOML, with "plan" instead of defaults for what it leaves to the plan.

    On one dataset recipes of one text make one run. Keys of `ADDED` are in it where they are used.
    """
    import tomli_w

    table = _without_unused(recipe)
    for name in Recipe.model_fields:
        if isinstance(section := getattr(recipe, name), Section):
            fields = type(section).model_fields.items()
            planned = {key for key, field in fields if field.json_schema_extra == PLANNED}
            table[name] |= dict.fromkeys(sorted(planned - section.model_fields_set), "plan")
    return tomli_w.dumps(table)


def dump_as_before(recipe: Recipe) -> str:
    """Return the whole recipe, defaults included, as a kseg dumped it that did not have the keys of `ADDED`."""
    import tomli_w

    return tomli_w.dumps(_without_unused(recipe))


def _without_unused(recipe: Recipe) -> dict[str, Any]:
    table = recipe.model_dump(mode="json", exclude_none=True)
    default = Recipe().model_dump(mode="json", exclude_none=True)
    for section, keys in ADDED.items():
        for key in keys:
            if table[section][key] == default[section][key]:
                del table[section][key]
    if not recipe.calibrates_volumes:  # as in earlier versions, whatever the loss
        del table["train"]["volume_calibration"]
    return table


def read_toml(path: Path) -> dict[str, Any]:
    """Return a recipe file's table, unchecked.

    Raises:
        InputError: the file cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except FileNotFoundError:
        raise InputError(f"recipe '{path}' does not exist: give the path of a .toml file, see pipelines/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{path}' cannot be read: {error}") from None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of numbers and nesting without end, too
        raise InputError(f"recipe '{path}' is not valid TOML: {toml_fault(text, error)}") from None


def _parse_override(override: str) -> tuple[list[str], Any]:
    """Return the keys that lead to a value, and the value."""
    key, equals, value = override.partition("=")
    if not equals or key.startswith("-"):
        raise InputError(f"override '{override}' is not understood: write section.key=value, e.g. train.max_minutes=20")
    try:
        table = tomllib.loads(f"{key} = 0")
        value = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip().split("."), value  # not a TOML value: an unquoted string, such as a path
    keys = []
    while isinstance(table, dict):
        ((name, table),) = table.items()
        keys.append(name)
    return keys, value


def _set(table: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Give a key its value: a table such as labels is replaced; a section keeps its other keys."""
    *path, last = keys
    for name in path:
        if not isinstance(table.get(name), dict):
            table[name] = {}
        table = table[name]
    if not path and isinstance(value, dict) and isinstance(table.get(last), dict):
        table[last] = table[last] | value
    else:
        table[last] = value


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)
