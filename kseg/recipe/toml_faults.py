"""What is wrong with a recipe that is no TOML, in words: the line, and what to write instead."""

import re

PLACE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)$")
COMMENT = re.compile(r"""^((?:[^"'#]|"(?:\\.|[^"\\])*"|'[^']*')*)#.*$""")
UNITS = "s|sec|seconds|min|mins|minutes|h|hours|mm|cm|ml|%|MB|GB|px|voxels|steps|epochs"

CURLY = (r"[\u2018-\u201f\u00ab\u00bb]", "take straight quotes, \" or '")
OF_VALUES = (
    CURLY,
    (r"^(True|False|yes|no|on|off)$", "write true or false"),
    (r"^(None|null)$", "leave the line out: what a recipe does not say is chosen"),
    (r"^-?\d+,\d+$", "write numbers with a point, and several between brackets"),
    (r"^-?\.\d+(e-?\d+)?$", "write a digit before the point"),
    (r"^-?0\d+(\.\d*)?$", "write numbers without zeros before them"),
    (rf"^-?[\d.]+\s*({UNITS})$", "write the number alone, without its unit"),
    (r"""^(?!-?[\d.]+e[-+\d])[^"'\[{,]*[^\W\d_][^"'\[{,]*$""", "put text in quotes"),
)
OF_KEYS = (
    CURLY,
    (r"^[\w.-]+\s*:", "write = between a key and its value"),
    (r"^[\w.-]+([ \t]+[\w.-]+)+\s*=", "put a name with spaces in quotes"),
    (r"^[\w.-]*[^\x00-\x7f][\w.-]*\s*=", "put a name with signs beyond a-z, 0-9, _ and - in quotes"),
)
"""Patterns of a line, or of what stands behind its =, and what helps; the first that is found counts."""


def toml_fault(text: str, error: Exception) -> str:
    """Return what a parser of TOML says of a text, with the line and a remedy where one is known.

    Example:
        >>> import tomllib
        >>> from kseg.recipe.toml_faults import toml_fault
        >>> text = 'name = leg'
        >>> try:
        ...     tomllib.loads(text)
        ... except ValueError as error:
        ...     print(toml_fault(text, error))
        line 1, `name = leg`: put text in quotes (Invalid value)
    """
    said = str(error)
    place = PLACE.search(said)
    if place is None:
        return said
    reason = said[: place.start()].strip()
    if "overwrite" in reason:
        reason += ": a key may stand once in a table"
    if place[1] is None:
        return f"{reason} (seen at the end of the file)"
    line = text.split("\n")[int(place[1]) - 1].strip()
    hint = _hint(reason, line)
    return f"line {place[1]}, `{line}`: {f'{hint} ({reason})' if hint else reason}"


def _hint(reason: str, line: str) -> str:
    """Return what helps, as far as the parser's reason and the line agree on it."""
    bare = (found[1] if (found := COMMENT.match(line)) else line).strip()
    value = bare.partition("=")[2].strip()
    if re.search(r"hex value|Unescaped|escape|backslash", reason):
        return "in a path write / instead of \\, or put it between single quotes"
    if reason.startswith("Illegal character '\\n'"):
        return "close the quote"
    if reason.startswith(("Expected '=' after a key", "Invalid statement", "Invalid initial character")):
        return _first(OF_KEYS, bare)
    if reason.startswith(("Invalid value", "Expected newline")) and re.match(r"""[\w."'-]+\s*=""", bare):
        return _first(OF_VALUES, value)
    return ""


def _first(hints: tuple[tuple[str, str], ...], words: str) -> str:
    return next((hint for pattern, hint in hints if re.search(pattern, words)), "")
