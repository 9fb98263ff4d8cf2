"""Cross-sectional areas along an axis: a curve for each structure of a scan."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from kseg.pictures.text import legend_label, names_as_written
from kseg.volumes.structure_colours import OKABE_ITO, colour_of

STYLES = ("-", "--", ":", "-.")
"""Of curves whose colours repeat."""
BEGINS_AT = {"x": "left", "y": "back", "z": "feet"}
MM2_IN_A_CM2 = 100


@names_as_written
def area_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], axis: str, title: str) -> Figure:
    """Draw the areas of each structure by slice; a dot stands at its largest.

    Args:
        curves: of each structure the places of slices, mm along the axis from the scan's beginning, and their areas in
            mm2; a structure that is nowhere has none and is not drawn.
        axis: "x", "y" or "z".
        title: the scan's name.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panel = figure.subplots()
    for index, (name, (places_mm, areas_mm2)) in enumerate(curves.items(), start=1):
        if not len(areas_mm2):
            continue
        colour, style = colour_of(index), STYLES[(index - 1) // len(OKABE_ITO) % len(STYLES)]
        areas_cm2 = areas_mm2 / MM2_IN_A_CM2
        edge = [Stroke(linewidth=2.8, foreground="0.25"), Normal()]  # yellow shows on white by it
        panel.plot(
            places_mm, areas_cm2, style, color=colour, linewidth=1.8, label=legend_label(name), path_effects=edge
        )
        largest = int(np.argmax(areas_cm2))
        panel.plot(places_mm[largest], areas_cm2[largest], "o", color=colour, markeredgecolor="black", zorder=3)
    panel.set(title=title, ylabel="cross-sectional area, cm²")
    panel.set_xlabel(f"mm along {axis}, from the end of the scan at the {BEGINS_AT[axis]}")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize="small")
    return figure
