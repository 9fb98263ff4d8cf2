"""What is wrong with a recipe that is no TOML, in words: the line, and what to write instead."""

import re

PLACE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)$")
HINTS = (
    (r"[\u2018-\u201f\u00ab\u00bb]", "take straight quotes, \" or '"),
    (r'=\s*"[^"]*\\', "in a path write / instead of \\, or put it between single quotes"),
    (r"=\s*(True|False|yes|no|on|off)\s*(#|$)", "write true or false"),
    (r"=\s*(None|null)\s*(#|$)", "leave the line out: what a recipe does not say is chosen"),
    (r"^\s*[\w.\"'-]+\s*:", "write = between a key and its value"),
    (
        r"^\s*[^=#\[\"']*[^\sA-Za-z0-9_.=#\[\"'-][^=]*=",
        "put a name with signs beyond a-z, 0-9, _ and - in quotes",
    ),
    (r"^\s*[\w.-]+[ \t]+[\w.-]+[^=]*=", "put a name with spaces in quotes"),
    (r"=\s*-?\d+,\d+\s*(#|$)", "write numbers with a point"),
    (r"=\s*-?\.\d", "write a digit before the point"),
    (r"=\s*-?0\d", "write numbers without zeros before them"),
    (r"=\s*-?[\d.]+\s*[A-Za-z%]", "write the number alone, without its unit"),
    (r"=\s*[A-Za-z_./~]", "put text in quotes"),
)
"""Patterns of a line, and what helps; the first that is found counts."""


def toml_fault(text: str, error: Exception) -> str:
    """Return what a parser of TOML says of a text, with the line and a remedy where one is known.

    Example:
        >>> import tomllib
        >>> from kseg.recipe.toml_faults import toml_fault
        >>> text = 'name = leg'
        >>> try:
        ...     tomllib.loads(text)
        ... except ValueError as error:
        ...     toml_fault(text, error)
        "line 1, 'name = leg': put text in quotes (Invalid value)"
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
    line = text.splitlines()[int(place[1]) - 1].strip()
    hint = next((hint for pattern, hint in HINTS if re.search(pattern, line)), "")
    return f"line {place[1]}, {line!r}: {f'{hint} ({reason})' if hint else reason}"
