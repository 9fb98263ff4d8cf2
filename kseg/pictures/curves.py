"""Curves of trainings: the panels of the paper's Figure 2 (Al Chanti et al., 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kseg.pictures.text import names_as_written
from kseg.volumes.structure_colours import colour_of

MANY = 4


@dataclass(frozen=True)
class RunCurves:
    """A run's history (`kseg.runs.history`), a list for each column; precision and recall by threshold."""

    history: Mapping[str, Sequence[float]]
    precision: np.ndarray
    recall: np.ndarray


@names_as_written
def training_curves(runs: Mapping[str, Sequence[RunCurves]]) -> Figure:
    """Draw validation loss, validation Dice, precision over recall, and alpha and beta where any run learned them.

    Args:
        runs: by choice its runs, one for each seed; a line is their mean, a band goes from the least to the greatest. A
            choice without a name, the only one, is not named.
    """
    learned = any(_learned(seeds) for seeds in runs.values())
    figure = Figure(figsize=(11, 8) if learned else (13, 4.2), layout="constrained")
    loss, dice, precision, *others = figure.subplots(2, 2).flat if learned else figure.subplots(1, 3)
    for index, (title, seeds) in enumerate(runs.items(), start=1):
        colour = colour_of(index)
        _line(loss, seeds, "val_loss", colour, title)
        _line(dice, seeds, "val_dice", colour, title)
        recall = np.mean([run.recall for run in seeds], axis=0)
        precision.plot(recall, np.mean([run.precision for run in seeds], axis=0), color=colour, label=title)
        if _learned(seeds):
            for name, style in (("alpha", "-"), ("beta", "--")):
                _line(others[0], seeds, name, colour, f"{name}, {title}".rstrip(", "), style)
    loss.set(title="validation loss", xlabel="epoch", ylim=_readable_range(runs, "val_loss"))
    dice.set(title="validation Dice", xlabel="epoch", ylim=_readable_range(runs, "val_dice"))
    precision.set(title="precision over recall, validation patches", xlabel="recall", ylabel="precision")
    precision.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for panel in others:
        panel.set(title="learned penalties", xlabel="epoch", ylim=(0, 1))
    for panel in (loss, dice, *others):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for panel in (loss, dice, precision, *others):
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[1]:  # a single run needs no name
            panel.legend(fontsize="small")
    return figure


def _readable_range(runs: Mapping[str, Sequence[RunCurves]], column: str) -> tuple[float, float]:
    """Return the limits of an axis that leaves out a curve's beginning: a first value far off would squeeze the rest.

    That is the first tenth of a run's validations, one at least where there are `MANY`.
    """
    values: list[float] = []
    for run in (run for seeds in runs.values() for run in seeds):
        curve = run.history[column]
        values += curve[max(len(curve) // 10, len(curve) >= MANY) :]
    margin = max(0.06 * (max(values) - min(values)), 0.01)
    return min(values) - margin, max(values) + margin


def _learned(seeds: Sequence[RunCurves]) -> bool:
    return all("alpha" in run.history for run in seeds)


def _line(panel: Axes, seeds: Sequence[RunCurves], column: str, colour: str, label: str, style: str = "-") -> None:
    """Draw the mean over seeds, as far as all of them go, and their range.

    What `train.max_minutes` bounds is not validated after the same epochs each time: between them lines are straight.
    """
    epochs = [np.asarray(run.history["epoch"]) for run in seeds]
    numbers = np.unique(np.concatenate(epochs))
    numbers = numbers[numbers <= min(one[-1] for one in epochs)]
    values = np.array([np.interp(numbers, one, run.history[column]) for one, run in zip(epochs, seeds, strict=True)])
    numbers = numbers + 1
    marker = "." if len(numbers) < 3 else None
    panel.plot(numbers, values.mean(axis=0), style, color=colour, label=label, marker=marker)
    if len(seeds) > 1:
        panel.fill_between(numbers, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
