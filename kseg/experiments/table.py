"""A grid's results: a row for each run as CSV, and a table of means over seeds for terminal and README."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.table import Table

from kseg.console.files import whole_file
from kseg.experiments.cells import CellScores
from kseg.recipe.grid import Cell

Row = tuple[Cell, CellScores]
HEADINGS = ("seeds", "parameters", "epochs", "minutes", "val Dice", "test Dice", "test HD95 mm")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a row for each run: its choices and seed, how long it trained, and its scores by split and class."""
    table = [_flat(cell, scores) for cell, scores in rows]
    columns = list(dict.fromkeys(column for row in table for column in row))
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def mean_rows(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return for each choice, in the grid's order, what `HEADINGS` name: means over seeds, Dice with its deviation."""
    by_title: dict[str, list[CellScores]] = {}
    for cell, scores in rows:
        by_title.setdefault(cell.title, []).append(scores)
    return [
        (
            title,
            str(len(found)),
            f"{found[0].parameters:,}",
            f"{fmean(one.epochs for one in found):.0f}",
            f"{fmean(one.minutes for one in found):.1f}",
            *(_mean_and_spread([one.dice[split] for one in found if split in one.dice]) for split in ("val", "test")),
            _mean([one.hd95_mm["test"] for one in found if "test" in one.hd95_mm]),
        )
        for title, found in by_title.items()
    ]


def terminal_table(name: str, rows: Sequence[Row]) -> Table:
    """The means as a table for the terminal."""
    table = Table(title=f"{name}: means over seeds +- standard deviation")
    table.add_column("")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in mean_rows(rows):
        table.add_row(*row)
    return table


def write_markdown(rows: Sequence[Row], path: Path) -> None:
    """Write the means as a table for a README."""
    lines = [("", *HEADINGS), ("---", *["---:"] * len(HEADINGS)), *mean_rows(rows)]
    with whole_file(path) as partial:
        partial.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")


def _flat(cell: Cell, scores: CellScores) -> dict[str, object]:
    row: dict[str, object] = {"choice": cell.title, "seed": cell.seed}
    row |= scores.model_dump(include={"parameters", "epochs", "minutes", "patch_dice"})
    for split, mean in scores.dice.items():
        row |= {f"{split}_dice": mean, f"{split}_hd95_mm": scores.hd95_mm.get(split, "")}
        row |= {f"{split}_dice_{name}": dice for name, dice in scores.dice_by_class[split].items()}
    return row


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" if values else "-"


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{fmean(values):.3f}" + (f" +- {stdev(values):.3f}" if len(values) > 1 else "")
