"""A drawing as PNG: a file that appears whole, or bytes."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from kseg.console.files import whole_file

DOTS_PER_INCH = 150


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure to a file."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DOTS_PER_INCH)


def png_bytes(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as the contents of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    return buffer.getvalue()
