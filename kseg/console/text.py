"""Text as messages and pages have it: numbers of things, names that may be many, Markdown."""

import re
from collections.abc import Sequence

SPECIAL = re.compile(r"[\\`*\[\]<|&$~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word means nothing


def counted(number: int, what: str, several: str = "") -> str:
    """Return a number of things in words: "1 file", "2 files"; `several` is a plural that does not end so."""
    return f"{number} {what if number == 1 else several or f'{what}s'}"


def duration(seconds: float) -> str:
    """Return a time as people say it, in whole seconds, minutes, or hours and minutes.

    Example:
        >>> [duration(seconds) for seconds in (44.6, 100, 5400, 8000)]
        ['45 s', '2 min', '1 h 30 min', '2 h 13 min']
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def first_line(said: BaseException | str) -> str:
    """Return the first line of what an exception or a library says; the exception's type where it says nothing."""
    return next(iter(str(said).strip().splitlines()), type(said).__name__)


def some_of(names: Sequence[str], most: int) -> str:
    """Return so many names at most, and how many more there are: "a, b and 3 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def markdown_text(text: str) -> str:
    """Return a text as Markdown, on one line, that shows it as it is: within a paragraph or in a cell of a table."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
