"""The recipe's keys as a table: for `--help` and docs/recipe.md."""

from typing import Any

from kseg.recipe.sections import Recipe
from kseg.recipe.toml_values import toml_value
from kseg.recipe.types import PLANNED, Section


def recipe_keys() -> list[tuple[str, str, str]]:
    """Return (key, default as TOML, description) of every key: for `--help` and docs/recipe.md."""
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
    if field.json_schema_extra == PLANNED:
        return key, "plan", field.description
    if field.default is None:
        return key, "preset" if key.startswith("network.") else "none", field.description
    return key, toml_value(field.default, typed=False), field.description


def _is_section(field: Any) -> bool:
    return isinstance(field.default, Section)
