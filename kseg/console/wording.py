"""Numbers of things, and names that may be many, as messages have them."""

from collections.abc import Sequence


def counted(number: int, what: str) -> str:
    """Return a number of things in words: "1 file", "2 files"."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def some_of(names: Sequence[str], most: int) -> str:
    """Return so many names at most, and how many more there are: "a, b and 3 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
