"""The report of a sweep: its table, its figure, and of each choice the cases and volumes of the first seed."""

import csv
from collections.abc import Sequence
from pathlib import Path

from kseg.pictures.curves import RunCurves, training_curves
from kseg.pictures.png import png_bytes, save_png
from kseg.recipe.load import dump_recipe
from kseg.recipe.sweep import Sweep, SweepRun
from kseg.report.page import inside, write_page
from kseg.report.run_report import read_curves, run_part
from kseg.runs.run_folder import RunFolder
from kseg.storage.files import whole_file
from kseg.sweeps.table import Row, mean_table, orders, write_csv, write_markdown

CURVES = ("val_loss", "val_dice", "alpha", "beta")


def write_tables(sweep: Sweep, rows: Sequence[Row], folder: Path) -> None:
    """Write `grid.csv`, a row for each run, and `grid.md`, means over seeds."""
    write_csv(rows, folder / "grid.csv")
    write_markdown(rows, folder / "grid.md", sweep.reference)


def write_sweep_report(sweep: Sweep, rows: Sequence[Row], folder: Path) -> None:
    """Write `curves.csv`, `figure.png` and `report.html` of a sweep whose runs have been scored.

    Args:
        sweep: its recipe and reference.
        rows: the finished runs and their scores, in the sweep's order.
        folder: where the files go.
    """
    curves: dict[str, dict[int, RunCurves]] = {}
    for run, _ in rows:
        if run.trainer == run.recipe.name:  # one that shares a training has that one's curves
            curves.setdefault(run.title, {})[run.seed] = read_curves(RunFolder(run.recipe.run_folder))
    _write_curves(curves, folder / "curves.csv")
    figure = training_curves({title: list(seeds.values()) for title, seeds in curves.items()})
    save_png(figure, folder / "figure.png")

    table = mean_table(rows, sweep.reference)
    first: dict[str, SweepRun] = {}
    for run, scores in rows:
        if scores.dice:
            first.setdefault(run.title, run)
    splits = {run.title: "test" if "test" in scores.dice else "val" for run, scores in rows}
    write_page(
        "sweep.html",
        folder / "report.html",
        title=sweep.recipe.name,
        headings=list(next(iter(table.values()))),
        table={title: list(means.values()) for title, means in table.items()},
        reference=sweep.reference,
        order=orders(rows, sweep.reference) if sweep.reference else None,
        curves=inside(png_bytes(figure, dots_per_inch=100)),
        parts_of={
            title: run_part(RunFolder(run.recipe.run_folder), splits[title], run.seed, run.changes[:-2])
            for title, run in first.items()
        },
        recipe=dump_recipe(sweep.recipe),
    )


def _write_curves(curves: dict[str, dict[int, RunCurves]], path: Path) -> None:
    """Write a row for each choice, seed and epoch; what a loss does not learn is left empty."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["choice", "seed", "epoch", *CURVES])
        for title, seeds in curves.items():
            for seed, curves_of_run in seeds.items():
                for at, epoch in enumerate(curves_of_run.history["epoch"]):
                    values = [
                        curves_of_run.history[name][at] if name in curves_of_run.history else "" for name in CURVES
                    ]
                    writer.writerow([title, seed, int(epoch) + 1, *values])
