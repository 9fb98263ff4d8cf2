"""Agreement of volumes: Bland-Altman plots (Bland and Altman, Lancet 1986)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from kseg.pictures.text import names_as_written
from kseg.volumes.structure_colours import colour_of

Pairs = Sequence[tuple[float, float]]
LEAST_CASES = 10
"""For limits of agreement: the standard error of a limit is sqrt(3 / n) standard deviations, 0.55 of ten cases."""


class Limits(NamedTuple):
    """Mean and standard deviation of differences; 95 % of them are expected between the limits, if they are normal."""

    bias: float
    deviation: float
    low: float
    high: float


def limits_of_agreement(pairs: Pairs) -> Limits:
    """Return bias and limits of agreement, `bias +- 1.96 SD`, of (truth, prediction) pairs; two at least."""
    differences = np.array([prediction - truth for truth, prediction in pairs])
    bias, deviation = float(differences.mean()), float(differences.std(ddof=1))
    return Limits(bias, deviation, bias - 1.96 * deviation, bias + 1.96 * deviation)


@names_as_written
def bland_altman(volumes_ml: Mapping[str, Pairs]) -> Figure:
    """Draw, for each class, prediction minus truth over the mean of both.

    Args:
        volumes_ml: by class the (truth, prediction) volumes of the cases, in ml; a class without any has no panel.
            Limits of agreement are drawn from `LEAST_CASES` on.

    Raises:
        ValueError: no class has volumes.
    """
    numbered = enumerate(volumes_ml.items(), start=1)  # a class has its colour, whether others have volumes or not
    drawn = [(index, name, pairs) for index, (name, pairs) in numbered if len(pairs)]
    if not drawn:
        raise ValueError("there are no volumes to draw")
    figure = Figure(figsize=(4 * len(drawn) + 0.5, 3.6), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for panel, (index, name, pairs) in zip(panels, drawn, strict=True):
        truth, prediction = np.array(pairs, float).reshape(-1, 2).T
        panel.scatter((truth + prediction) / 2, prediction - truth, color=colour_of(index), edgecolor="black", zorder=3)
        if len(pairs) > 1:
            limits = limits_of_agreement(pairs)
            dashed = [(limits.low, "--"), (limits.high, "--")] if len(pairs) >= LEAST_CASES else []
            for value, style in ((limits.bias, "-"), *dashed):
                panel.axhline(value, color="black", linestyle=style, linewidth=1)
                panel.annotate(
                    f"{value:+.3g}", (1, value), (3, 0), va="center", size="small",
                    xycoords=("axes fraction", "data"), textcoords="offset points",
                )  # fmt: skip
        panel.axhline(0, color="grey", linewidth=0.5)
        panel.set(title=name, xlabel="mean of truth and prediction, ml")
    panels[0].set_ylabel("prediction - truth, ml")
    return figure
