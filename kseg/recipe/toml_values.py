"""Values as TOML writes them, for messages and pages: on one line."""

import json
import re
from collections.abc import Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_value(value: Any, typed: bool = True) -> str:
    """Return a value of a recipe as text.

    Args:
        value: the value.
        typed: as somebody types it within a shell's quotes, 1 for 1.0 and 'a' for "a"; else as a page lists it.

    Example:
        >>> from kseg.recipe.toml_values import toml_value
        >>> toml_value({"background": 0, "my leg": 1}), toml_value((1.0, 2.5)), toml_value(True)
        ('{background = 0, "my leg" = 1}', '[1, 2.5]', 'true')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(name))} = {toml_value(item, typed)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(item, typed) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'" if typed and "'" not in value else json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if typed and isinstance(value, float) else str(value)


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
