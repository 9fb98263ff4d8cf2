"""A sweep's results: a row for each run as CSV, and a table of means over seeds for the terminal and in Markdown."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.table import Table

from kseg.console.text import markdown_text
from kseg.recipe.sweep import Reference, SweepRun
from kseg.storage.files import whole_file
from kseg.sweeps.run_scores import RunScores

Row = tuple[SweepRun, RunScores]
WIDE = ("test precision", "test recall", "epochs", "epochs to 90 %", "alpha")
"""The columns that do not fit into a terminal."""


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write a row for each run: its choices and seed, how long it trained, and its scores by split and class."""
    table = [_flat(run, scores) for run, scores in rows]
    columns = list(dict.fromkeys(column for row in table for column in row))
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def mean_table(rows: Sequence[Row], reference: Reference | None = None) -> dict[str, dict[str, str]]:
    """Return by choice, in the sweep's order, and by heading: means over seeds, some with their standard deviation."""
    by_title: dict[str, list[RunScores]] = {}
    for run, scores in rows:
        by_title.setdefault(run.title, []).append(scores)
    table = {}
    for title, found in by_title.items():
        table[title] = {"seeds": str(len(found)), "test Dice": _dice(found, "test")}
        if reference is not None:
            dice = reference.dice.get(title)
            table[title][f"{reference.source}: Dice"] = "-" if dice is None else f"{dice:.2f}"
        table[title] |= _means(found)
    return table


def orders(rows: Sequence[Row], reference: Reference) -> tuple[list[str], list[str]]:
    """Return the choices that the reference names, the best test Dice first: as measured here, and as it has them."""
    dice: dict[str, list[float]] = {}
    for run, scores in rows:
        if run.title in reference.dice and "test" in scores.dice:
            dice.setdefault(run.title, []).append(scores.dice["test"])
    measured = sorted(dice, key=lambda title: -fmean(dice[title]))
    return measured, sorted(dice, key=lambda title: -reference.dice[title])


def terminal_table(name: str, rows: Sequence[Row], reference: Reference | None = None) -> Table:
    """The means as a table for the terminal."""
    table = Table(title=f"{name}: means over seeds +- standard deviation")
    table.add_column("")
    means_by_title = mean_table(rows, reference)
    shown = [heading for heading in next(iter(means_by_title.values())) if heading not in WIDE]
    for heading in shown:
        table.add_column(heading, justify="right")
    for title, means in means_by_title.items():
        table.add_row(title, *(means[heading] for heading in shown))
    return table


def write_markdown(rows: Sequence[Row], path: Path, reference: Reference | None = None) -> None:
    """Write the means as a table in Markdown."""
    table = mean_table(rows, reference)
    headings = list(next(iter(table.values())))
    body = [(title, *means.values()) for title, means in table.items()]
    lines = [("", *map(markdown_text, headings)), ("---", *["---:"] * len(headings)), *body]
    with whole_file(path) as partial:
        partial.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")


def _means(found: Sequence[RunScores]) -> dict[str, str]:
    """The columns of one choice after its test Dice, from its seeds: the scores first, then what they took."""
    trainings = [one.training for one in found]
    distances = [one.hd95_mm["test"] for one in found if "test" in one.hd95_mm]
    return {
        "test precision": _with_spread([one.precision["test"] for one in found if "test" in one.precision]),
        "test recall": _with_spread([one.recall["test"] for one in found if "test" in one.recall]),
        "test HD95 mm": f"{fmean(distances):.2f}" if distances else "-",
        "val Dice": _dice(found, "val"),
        "parameters": f"{trainings[0].parameters:,}",
        "minutes": f"{fmean(one.minutes for one in trainings):.1f}",
        "ms a step": f"{1000 * fmean(one.step_seconds for one in trainings):.0f}",
        "epochs": f"{fmean(one.epochs for one in trainings):.0f}",
        "epochs to 90 %": f"{fmean(one.epochs_to_90 for one in trainings):.1f}",
        "alpha": _with_spread([one.alpha for one in trainings if one.alpha is not None]),
    }


def _dice(found: Sequence[RunScores], split: str) -> str:
    return _with_spread([one.dice[split] for one in found if split in one.dice])


def _flat(run: SweepRun, scores: RunScores) -> dict[str, object]:
    row: dict[str, object] = {"choice": run.title, "seed": run.seed}
    row |= {key: "" if value is None else value for key, value in scores.training.model_dump().items()}
    for split, mean in scores.dice.items():
        row[f"{split}_dice"] = mean
        for measure in ("precision", "recall", "hd95_mm"):
            row[f"{split}_{measure}"] = getattr(scores, measure).get(split, "")
        row |= {f"{split}_dice_{name}": dice for name, dice in scores.dice_by_class[split].items()}
    return row


def _with_spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{fmean(values):.3f}" + (f" +- {stdev(values):.3f}" if len(values) > 1 else "")
