"""The report of an experiment: its table, its figure, and of each choice the cases and volumes of the first seed."""

import csv
from collections.abc import Sequence
from pathlib import Path

from kseg.experiments.table import Row, mean_table, orders, write_csv, write_markdown
from kseg.pictures.curves import RunCurves, four_panels
from kseg.pictures.png import png_bytes, save_png
from kseg.recipe.grid import Cell, Experiment
from kseg.recipe.load import dump_recipe
from kseg.report.page import inside, write_page
from kseg.report.run_report import read_curves, run_part
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import whole_file

CURVES = ("val_loss", "val_dice", "alpha", "beta")


def write_tables(experiment: Experiment, rows: Sequence[Row], folder: Path) -> None:
    """Write `grid.csv`, a row for each run, and `grid.md`, means over seeds."""
    write_csv(rows, folder / "grid.csv")
    write_markdown(rows, folder / "grid.md", experiment.reference)


def write_grid_report(experiment: Experiment, rows: Sequence[Row], folder: Path) -> None:
    """Write `curves.csv`, `figure.png` and `report.html` of an experiment whose runs have been scored.

    Args:
        experiment: its recipe and reference.
        rows: the finished runs and their scores, in the experiment's order.
        folder: where the files go.
    """
    curves: dict[str, dict[int, RunCurves]] = {}
    for cell, _ in rows:
        if cell.trainer == cell.recipe.name:  # one that shares a training has that one's curves
            curves.setdefault(cell.title, {})[cell.seed] = read_curves(RunFolder(cell.recipe.run_folder))
    _write_curves(curves, folder / "curves.csv")
    figure = four_panels({title: list(seeds.values()) for title, seeds in curves.items()})
    save_png(figure, folder / "figure.png")

    table = mean_table(rows, experiment.reference)
    first: dict[str, Cell] = {}
    for cell, scores in rows:
        if scores.dice:
            first.setdefault(cell.title, cell)
    splits = {cell.title: "test" if "test" in scores.dice else "val" for cell, scores in rows}
    write_page(
        "sweep.html",
        folder / "report.html",
        title=experiment.recipe.name,
        headings=list(next(iter(table.values()))),
        table={title: list(means.values()) for title, means in table.items()},
        reference=experiment.reference,
        order=orders(rows, experiment.reference) if experiment.reference else None,
        curves=inside(png_bytes(figure, dots_per_inch=100)),
        parts_of={
            title: run_part(RunFolder(cell.recipe.run_folder), splits[title], cell.seed, cell.changes[:-2])
            for title, cell in first.items()
        },
        recipe=dump_recipe(experiment.recipe),
    )


def _write_curves(curves: dict[str, dict[int, RunCurves]], path: Path) -> None:
    """Write a row for each choice, seed and epoch; what a loss does not learn is left empty."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["choice", "seed", "epoch", *CURVES])
        for title, seeds in curves.items():
            for seed, run in seeds.items():
                for at, epoch in enumerate(run.history["epoch"]):
                    values = [run.history[name][at] if name in run.history else "" for name in CURVES]
                    writer.writerow([title, seed, int(epoch) + 1, *values])
