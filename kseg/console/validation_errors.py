"""What pydantic finds wrong with a file or a recipe, in one line."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


IN_WORDS = {"string_pattern_mismatch": "It has characters that it may not have, or lacks some"}
"""What pydantic says in a way that only programmers read."""


class InvalidEntry(NamedTuple):
    """A value that pydantic refused: its key, dotted (empty for the whole), why, pydantic's name of that, the value."""

    key: str
    message: str
    kind: str
    received: Any
    loc: tuple[int | str, ...] = ()
    """The key, part by part, as pydantic has it."""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


def invalid_entries(error: "ValidationError") -> list[InvalidEntry]:
    """Return all that pydantic refused, in the order in which it met it."""
    return [
        InvalidEntry(
            ".".join(map(str, problem["loc"])),
            IN_WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, "),
            problem["type"],
            problem["input"],
            problem["loc"],
        )
        for problem in error.errors()
    ]


def first_invalid(error: "ValidationError") -> InvalidEntry:
    """Return the first entry that pydantic refused; as text it is a line, "key: why"."""
    return invalid_entries(error)[0]
