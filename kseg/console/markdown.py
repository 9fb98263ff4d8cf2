"""Text in Markdown."""

import re

SPECIAL = re.compile(r"[\\`*\[\]<|&$~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word means nothing


def markdown_text(text: str) -> str:
    """Return a text as Markdown, on one line, that shows it as it is: within a paragraph or in a cell of a table."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
