"""What pydantic finds wrong with a file or a recipe, in one line."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class InvalidEntry(NamedTuple):
    """A value that pydantic refused: its key, dotted (empty for the whole), why, pydantic's name of that, the value."""

    key: str
    message: str
    kind: str
    received: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


def invalid_entries(error: "ValidationError") -> list[InvalidEntry]:
    """Return all that pydantic refused, in the order in which it met it."""
    return [
        InvalidEntry(
            ".".join(map(str, problem["loc"])),
            problem["msg"].removeprefix("Value error, "),
            problem["type"],
            problem["input"],
        )
        for problem in error.errors()
    ]


def first_invalid(error: "ValidationError") -> InvalidEntry:
    """Return the first entry that pydantic refused; as text it is a line, "key: why"."""
    return invalid_entries(error)[0]
