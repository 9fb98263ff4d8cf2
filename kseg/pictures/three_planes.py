"""A picture of one case: three orthogonal planes with the classes outlined, the truth above the prediction.

Axial and coronal planes follow the radiological convention (the patient's right is on the viewer's left); the
sagittal plane has the patient's front on the left. Letters at the edges name the side of the patient: R, L,
A (front), P (back), S (head), I (feet).
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from kseg.pictures.text import legend_label, names_as_written
from kseg.volumes.geometry import other_axes
from kseg.volumes.regions import marks
from kseg.volumes.structure_colours import colour_of

VEIL, UNLABELLED = 0.4, "not labelled"
"""How opaque the white is on what nobody labelled, and its name."""
ROW_INCHES = 3.2
LEGEND_ROW_INCHES, LEGEND_MARK_INCHES, LETTER_INCHES = 0.25, 0.6, 0.09
"""Of a legend at 10 points: a row, the line of a colour with its margins, a wide letter."""


class Plane(NamedTuple):
    """A plane across the axis `normal`, drawn with two axes `across` (perhaps mirrored) and `up`."""

    name: str
    normal: int
    across: int
    up: int
    mirrored: bool
    left: str
    right: str
    bottom: str
    top: str


PLANES = (
    Plane("axial", 2, 0, 1, True, "R", "L", "P", "A"),
    Plane("coronal", 1, 0, 2, True, "R", "L", "I", "S"),
    Plane("sagittal", 0, 1, 2, True, "A", "P", "I", "S"),
)


@names_as_written
def three_planes(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    *,
    spacing_mm: Sequence[float],
    class_names: Sequence[str],
    members: Sequence[Sequence[int]] = (),
    title: str,
    row_inches: float = ROW_INCHES,
) -> Figure:
    """Draw the axial, coronal and sagittal slice that hold the most foreground.

    Args:
        image: one channel (x, y, z), RAS+ voxel order.
        truth: class indices (x, y, z), above the last class's where nobody labelled a voxel, or None. They choose the
            slices; without them the prediction does.
        prediction: class indices (x, y, z), or None.
        spacing_mm: voxel size along x, y, z.
        class_names: names of the classes 1, 2, ..., without the background; or of the structures in `members`.
        members: the classes of each structure, where these are regions, which may overlap.
        title: the picture's heading.
        row_inches: height of a row of slices. Words keep their size: in a smaller picture they are larger beside it.
    """
    members = members or [(index,) for index in range(1, len(class_names) + 1)]
    last = max((index for own in members for index in own), default=0)
    rows = [(name, labels) for name, labels in (("truth", truth), ("prediction", prediction)) if labels is not None]
    centre = _centre(image.shape, [np.where(labels > last, 0, labels) for _, labels in rows])
    extents_mm = np.multiply(image.shape, spacing_mm)
    widths = [float(np.clip(extents_mm[p.across] / extents_mm[p.up], 0.4, 2.5)) for p in PLANES]
    rows = rows or [("", np.zeros(image.shape, np.uint8))]

    width_inches = row_inches * sum(widths) + 2 * row_inches / ROW_INCHES
    legend: list[Artist] = [
        Line2D([], [], color=colour_of(index), lw=2, label=legend_label(name))
        for index, name in enumerate(class_names, start=1)
    ]
    if any((labels > last).any() for _, labels in rows):
        legend.append(Patch(facecolor="1", edgecolor="0.5", label=UNLABELLED))
    columns = _legend_columns([str(mark.get_label()) for mark in legend], width_inches)
    height_inches = (row_inches + 0.8) * len(rows) + 0.7 + LEGEND_ROW_INCHES * ceil(len(legend) / columns)
    figure = Figure(figsize=(width_inches, height_inches))
    figure.set_layout_engine("constrained", wspace=0.08)
    figure.suptitle(title)
    panels = figure.subplots(len(rows), len(PLANES), squeeze=False, width_ratios=widths)
    slices = [np.take(image, centre[p.normal], axis=p.normal) for p in PLANES]
    black, white = np.percentile(np.concatenate([s.ravel() for s in slices]), (1, 99))
    for (name, labels), axes in zip(rows, panels, strict=True):
        for plane, grey, panel in zip(PLANES, slices, axes, strict=True):
            where = centre[plane.normal]
            _draw_grey(panel, plane, grey, spacing_mm, (float(black), float(white)))
            shown = np.take(labels, where, axis=plane.normal)
            _veil(panel, shown > last)
            _draw_outlines(panel, plane, shown, spacing_mm, members)
            heading = f"{name}\n{plane.name}, {'xyz'[plane.normal]} = {where}\n{plane.top}"
            panel.set_title(heading.lstrip(), fontsize="medium")
    figure.legend(
        handles=legend,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    return figure


def _legend_columns(names: Sequence[str], width_inches: float) -> int:
    """Columns of a legend that fit beside each other, four at most."""
    widest = LEGEND_MARK_INCHES + LETTER_INCHES * max(map(len, names), default=0)
    return max(1, min(4, int(width_inches / widest)))


def outline(mask: np.ndarray) -> np.ndarray:
    """Edges between a mask (u, v) and the rest: segments (n, 2 ends, 2), where voxel i spans i to i + 1.

    Exact, where a contour line would cut the corners of thick slices.
    """
    padded = np.pad(mask, 1)
    u, v = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    upright = np.stack([np.stack([u, v], -1), np.stack([u, v + 1], -1)], axis=1)
    u, v = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    level = np.stack([np.stack([u, v], -1), np.stack([u + 1, v], -1)], axis=1)
    return np.concatenate([upright, level])


def _centre(shape: Sequence[int], label_maps: Sequence[np.ndarray]) -> list[int]:
    """The slice of each axis with the most foreground of the first label map with any; else the middle."""
    for labels in label_maps:
        counts = [np.count_nonzero(labels, axis=other_axes(axis)) for axis in range(3)]
        if counts[0].any():
            return [int(np.argmax(c)) for c in counts]
    return [n // 2 for n in shape]


def _draw_grey(
    panel: Axes, plane: Plane, grey: np.ndarray, spacing_mm: Sequence[float], window: tuple[float, float]
) -> None:
    """Show a slice (across, up) in mm, its orientation letters outside so that they hide nothing."""
    width, height = np.multiply(grey.shape, (spacing_mm[plane.across], spacing_mm[plane.up]))
    black, white = window
    panel.imshow(grey.T, cmap="gray", vmin=black, vmax=white, origin="lower", extent=(0, width, 0, height))
    if plane.mirrored:
        panel.invert_xaxis()
    panel.set(xticks=[], yticks=[], xlabel=plane.bottom)
    panel.set_ylabel(plane.left, rotation=0, ha="right", va="center")
    panel.annotate(plane.right, (1, 0.5), (4, 0), xycoords="axes fraction", textcoords="offset points", va="center")


def _veil(panel: Axes, unlabelled: np.ndarray) -> None:
    """Lighten what nobody labelled in a slice (across, up) that is shown: it is neither structure nor background."""
    if unlabelled.any():
        white, veil = np.ones(unlabelled.T.shape), VEIL * unlabelled.T
        extent, x, y = panel.images[0].get_extent(), panel.get_xlim(), panel.get_ylim()
        panel.imshow(white, cmap="gray", vmin=0, vmax=1, alpha=veil, origin="lower", extent=extent)
        panel.set(xlim=x, ylim=y)  # which a picture sets anew, so that mirrored planes would not be


def _draw_outlines(
    panel: Axes, plane: Plane, labels: np.ndarray, spacing_mm: Sequence[float], members: Sequence[Sequence[int]]
) -> None:
    scale = (spacing_mm[plane.across], spacing_mm[plane.up])
    for index, own in enumerate(members, start=1):
        segments = outline(marks(labels, own)) * scale
        panel.add_collection(
            LineCollection(list(segments), colors=colour_of(index), linewidths=1.2, capstyle="projecting"),
            autolim=False,
        )
