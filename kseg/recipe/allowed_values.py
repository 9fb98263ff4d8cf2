"""What a key may hold, in words: made from the types of the sections, so that it is true of every key."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

from kseg.recipe.toml_values import toml_value
from kseg.recipe.types import NAME, WORD

COUNTS = ("no", "one", "two", "three", "four")
PATTERNS = {
    WORD: "letters (a to z), digits, '.', '_' and '-', a letter or digit first",
    NAME: "letters (a to z), digits, '.', '_' and '-', a letter or digit first (and / between such names)",
}
"""Patterns of texts in words."""
NOUNS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "table",
}
"""JSON Schema's types."""
COMPLETE = ("true or false", *PATTERNS.values())
"""What takes no article."""


def allowed_value(model: type[BaseModel], place: Sequence[int | str]) -> tuple[int, str]:
    """Return how far a place within a model leads to a key, in steps, and what that may hold.

    Args:
        model: of a recipe, or of a part of it.
        place: as pydantic names it: `("patches", "size", 2)` is an element of the key `patches.size`.

    Example:
        >>> from kseg.recipe.allowed_values import allowed_value
        >>> from kseg.recipe.sections import Recipe
        >>> allowed_value(Recipe, ("patches", "size", 2))
        (2, 'three whole numbers above 0, as in [96, 96, 96]')
        >>> allowed_value(Recipe, ("evaluation", "overlap"))
        (2, 'a number from 0 to below 1')
    """
    root = _schema(model)
    schema, around, steps = _resolved(root, root), dict[str, Any](), 0
    for step in place:
        inner = schema.get("properties", {}).get(step) or _items_of_table(schema)
        if inner is None or step == "[key]":
            break
        schema, around, steps = _resolved(inner, root), schema, steps + 1
    if place[-1] == "[key]":
        return steps, f"named by {PATTERNS[next(iter(around['patternProperties']))]}"
    return steps, _words(schema, root) + _example(schema)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with what it refers to in its place; its own words come first."""
    for group in ("anyOf", "allOf"):  # pydantic before 2.9 puts a reference that has a default into `allOf`
        choices = [one for one in schema.get(group, ()) if one.get("type") != "null"]
        if len(choices) == 1:
            return _resolved({key: value for key, value in schema.items() if key != group} | choices[0], root)
    own = {key: value for key, value in schema.items() if key != "$ref"}
    if "$ref" not in schema:
        return own
    return dict(root["$defs"][schema["$ref"].rpartition("/")[2]]) | own


def _items_of_table(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """What each name of a table stands for, where names are the user's."""
    items = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    return items if isinstance(items, dict) else None


def _words(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    schema = _resolved(schema, root)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return _either([_words(one, root) for one in choices if one.get("type") != "null"])
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return _either([toml_value(choice) for choice in choices])
    if schema.get("type") == "array":
        items = schema.get("prefixItems")
        return (
            f"{COUNTS[len(items)]} {_plural(items[0], root)}"
            if items
            else f"a list of {_plural(schema['items'], root)}"
        )
    if (inner := _items_of_table(schema)) is not None:
        return f"a table of names, each with {_words(inner, root)}"
    noun = _noun(schema)
    return f"{noun if noun in COMPLETE else f'a {noun}'}{_bounds(schema)}"


def _noun(schema: Mapping[str, Any]) -> str:
    if "pattern" in schema:
        return PATTERNS[schema["pattern"]]
    return NOUNS[schema["type"]]


def _plural(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    schema = _resolved(schema, root)
    if schema.get("type") in ("integer", "number", "string") and not {"enum", "pattern"} & schema.keys():
        return f"{_noun(schema)}s{_bounds(schema)}"
    words = _words(schema, root)
    if schema.get("type") != "array":
        return words
    return f"{words} each" if "prefixItems" in schema else words.replace("a list", "lists", 1)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, above, high, below = (
        "" if bound not in schema else f"{schema[bound]}".removesuffix(".0")
        for bound in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    )
    if low and (high or below):
        return f" from {low} to {high or f'below {below}'}"
    parts = [f" of {low} or more" * bool(low), f" above {above}" * bool(above)]
    parts += [f" of at most {high}" * bool(high), f" below {below}" * bool(below)]
    return " and".join(filter(None, parts))


def _example(schema: Mapping[str, Any]) -> str:
    """A list or a table as it is written: an example of the key's own, its default, or its first choices."""
    default = schema.get("default")
    examples = [*schema.get("examples", ()), *([default] if isinstance(default, list) and default else [])]
    if schema.get("type") == "array" and "enum" in schema.get("items", {}):
        examples.append(schema["items"]["enum"][:2])
    return f", as in {toml_value(examples[0])}" if examples else ""


def _either(words: Sequence[str]) -> str:
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last
