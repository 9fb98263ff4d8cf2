"""A drawing as PNG: a file that appears whole, or bytes."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kseg.storage.files import whole_file

DOTS_PER_INCH = 150


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure to a file."""
    with whole_file(path) as partial:
        _save(figure, partial, DOTS_PER_INCH)


def png_bytes(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as the contents of a PNG file."""
    buffer = BytesIO()
    _save(figure, buffer, dots_per_inch)
    return buffer.getvalue()


def _save(figure: Figure, target: Any, dots_per_inch: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing", UserWarning)  # a box stands for what no font has
        figure.savefig(target, format="png", dpi=dots_per_inch)
