"""What is wrong with a recipe, in words: the key, what it may hold, what it was given, and where that was said."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.validation_errors import InvalidEntry, invalid_entries
from kseg.recipe.allowed_values import allowed_value
from kseg.recipe.keys import recipe_keys
from kseg.recipe.toml_values import toml_value

COMMAND_LINE = "on the command line"
OURS = ("value_error", "assertion_error")
"""Kinds of refusals that are in words already."""


@contextmanager
def explained(
    model: type[BaseModel],
    table: Mapping[str, Any],
    where: str = "",
    changes: Sequence[Mapping[str, Any]] = (),
    changed: str = COMMAND_LINE,
) -> Iterator[None]:
    """Turn what pydantic finds wrong within the block into one `InputError`.

    Args:
        model: that is being made.
        table: what it is made of, the changes among it.
        where: the table was read; empty where there are changes alone.
        changes: to it, as tables of one key.
        changed: where the changes were given.

    Raises:
        InputError: names each key, and where it was given.
    """
    try:
        yield
    except ValidationError as error:
        said: dict[str, list[str]] = {}
        for entry in invalid_entries(error):
            place = _place(entry, where, changes, changed)
            text = _explain(entry, model, table, place == changed)
            if text not in said.setdefault(place, []):
                said[place].append(text)
        in_order = sorted(said, key=lambda place: place == changed)
        raise InputError("; ".join(f"{place}: {'; '.join(said[place])}" for place in in_order)) from None


def _place(entry: InvalidEntry, where: str, changes: Sequence[Mapping[str, Any]], changed: str) -> str:
    """Where a fault was given; one of a section as a whole may be of both."""
    if not where or any(_sets(change, entry.loc) for change in changes):
        return changed
    if len(entry.loc) == 1 and any(entry.loc[0] in change for change in changes):
        if entry.kind == "extra_forbidden":
            return changed
        return f"{where}, as changed {changed}"
    return where


def _sets(change: Any, loc: Sequence[int | str]) -> bool:
    """Whether a change gives the value of a key; what is wrong with a section as a whole is not one change's."""
    for part in loc:
        if not isinstance(change, dict):
            return True
        if part not in change:
            return False
        change = change[part]
    return len(loc) > 1 or not isinstance(change, dict)


def _explain(entry: InvalidEntry, model: type[BaseModel], table: Mapping[str, Any], is_typed: bool) -> str:
    if entry.kind == "extra_forbidden":
        return _unknown(entry, is_typed)
    if not entry.key:
        return entry.message
    if entry.kind in OURS:
        is_section = isinstance(entry.received, dict) and len(entry.loc) == 1
        return f"'{entry.key}': {entry.message}" + ("" if is_section else f". Received {toml_value(entry.received)}")
    steps, allowed = allowed_value(model, entry.loc)
    key = ".".join(map(str, entry.loc[:steps]))
    if entry.kind == "missing" and steps == len(entry.loc):
        return f"'{key}' is missing: it must be {allowed}"
    return f"'{key}': it must be {allowed}. Received {toml_value(_given(table, entry.loc[:steps], entry.received))}"


def _given(table: Any, path: Sequence[int | str], otherwise: Any) -> Any:
    for part in path:
        if not isinstance(table, Mapping) or part not in table:
            return otherwise
        table = table[part]
    return table


def _unknown(entry: InvalidEntry, is_typed: bool) -> str:
    """Say that there is no such key or table, and which is meant, perhaps."""
    key, received = entry.key, entry.received
    while is_typed and isinstance(received, dict) and len(received) == 1:
        (part, received), *_ = received.items()
        key = f"{key}.{part}"
    if isinstance(received, dict) and "." not in key:
        near = _nearest_table(key, received)
        what, hint = f"[{key}] is no table of a recipe", f"[{near}]"
    else:
        near = _nearest_key(key)
        what, hint = f"'{key}' is no key of a recipe", f"'{near}'"
    return f"{what}: did you mean {hint}?" if near else f"{what}: {command_line('train')} --help lists the keys"


def _nearest_table(name: str, content: Mapping[str, Any]) -> str:
    """The table of a similar name, else the one that has the most of these keys, else a key that holds such a table."""
    tables: dict[str, list[str]] = {}
    for key, _, _ in recipe_keys():
        table, dot, inner = key.partition(".")
        if dot:
            tables.setdefault(table, []).append(inner)
    if near := difflib.get_close_matches(name, tables, n=1):
        return near[0]
    shared = {table: len(content.keys() & set(keys)) for table, keys in tables.items()}
    best = max(shared, key=lambda table: shared[table])
    return best if shared[best] else next((key for key, _, _ in recipe_keys() if key.endswith(f".{name}")), "")


def _nearest_key(key: str) -> str:
    """The key of the same name in another table, else one that is written much alike, else one that ends much alike."""
    known = [name for name, _, _ in recipe_keys()]
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    alike = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(last, ends, n=1)
    found = ends.get(last) or (alike[0] if alike else "")
    return ends.get(found, found)
