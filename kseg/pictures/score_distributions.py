"""How scores are spread over the cases: a point for each case, and a box where there are enough of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kseg.pictures.text import names_as_written
from kseg.volumes.structure_colours import colour_of

LEAST_CASES = 5
"""For a box: quartiles of fewer are the points themselves."""
ROW_INCHES = 0.42
SPREAD = 0.22
"""How far, in rows, points lie from their row's middle, so that equal ones can be told apart."""


@names_as_written
def score_distributions(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw a panel for each score, in it a row of points for each class; a box from quartile to quartile has a
    line at the median.

    Args:
        scores: by the panel's heading, by class the scores of the cases; a class without any has an empty row. All
            panels have the same classes.

    Raises:
        ValueError: there is no panel.
    """
    if not scores:
        raise ValueError("there are no scores to draw")
    classes = list(next(iter(scores.values())))
    figure = Figure(figsize=(4.2 * len(scores) + 1, ROW_INCHES * len(classes) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for panel, (heading, by_class) in zip(panels, scores.items(), strict=True):
        for row, name in enumerate(classes):
            values = np.asarray(by_class[name], float)
            beside = SPREAD * np.resize([0.0, 1.0, -1.0, 0.5, -0.5], len(values))
            look = {"color": colour_of(row + 1), "edgecolor": "black", "linewidth": 0.6}
            panel.scatter(values, row + beside, s=26, zorder=3, **look)
            if len(values) >= LEAST_CASES:
                low, middle, high = np.percentile(values, (25, 50, 75))
                panel.barh(row, high - low, 0.75, left=low, facecolor="none", edgecolor="black", linewidth=0.8)
                panel.vlines(middle, row - 0.375, row + 0.375, color="black", linewidth=2)
        panel.set(xlabel=heading)
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(classes)), classes)
    panels[0].set_ylim(len(classes) - 0.4, -0.6)  # the first class above
    return figure
