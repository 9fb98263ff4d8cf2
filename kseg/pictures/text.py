"""Names in pictures: of classes, cases and runs, drawn as they are written."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

P = ParamSpec("P")


def names_as_written(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw `$` as a dollar, where matplotlib would read mathematics between two of them.

    Texts keep this from where they are made. Those that matplotlib makes itself while it saves a figure, numbers at
    ticks, may use its mathematics.
    """

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context({"text.parse_math": False}):
            return draw(*args, **kwargs)

    return drawing


def legend_label(name: str) -> str:
    """Return a name for a legend, which leaves out those that begin with an underscore (until matplotlib 3.10)."""
    return f" {name}" if name.startswith("_") else name
