"""Scores on disk, on the terminal and in TensorBoard: a CSV row per case and class, a summary in JSON, a table."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.table import Table

from kseg.console.text import counted
from kseg.evaluation.scores import ClassScore, Statistic, Summary
from kseg.runs.owned_files import split_files
from kseg.storage.files import whole_file

MEASURES = {
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95 mm", ".2f"),
    "nsd": ("NSD", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "volume_error_percent": ("volume error %", "+.1f"),
}
"""What tables show of a summary: heading and form of each measure."""


def write_scores(
    scores_by_case: Mapping[str, Sequence[ClassScore]], summary: Summary, folder: Path, split: str
) -> None:
    """Write `<split>.csv` and `<split>.json` into `folder`, each all or not at all.

    The CSV has a row for each case and class; what is not scored is an empty field. The JSON holds `split`,
    `summary` and `cases` (the same rows by case), with null for what is not scored.
    """
    rows = {case: [asdict(score) for score in scores] for case, scores in scores_by_case.items()}
    document = {"split": split, "summary": asdict(summary), "cases": rows}
    scores_file, table_file, _ = split_files(split)
    with whole_file(folder / scores_file) as path:
        path.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")

    names = [field.name for field in fields(ClassScore)]
    with whole_file(folder / table_file) as path, path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["case", *names], lineterminator="\n")
        table.writeheader()
        table.writerows({"case": case, **row} for case, members in rows.items() for row in members)


def write_scalars(summary: Summary, logs: Path, split: str) -> None:
    """Write the means of all measures over the foreground as `<split>_<measure>`."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default(step=0):
        for measure, statistic in summary.foreground.items():
            tf.summary.scalar(f"{split}_{measure}", statistic.mean)
    writer.close()


def score_table(summary: Summary) -> Table:
    """The means of every class, and of all classes in the last line, with the case whose Dice is worst."""
    table = Table(title=f"Mean of {counted(summary.cases, 'case')}")
    table.add_column("class")
    for heading in ("scored", *headings(summary.nsd_tolerance_mm)):
        table.add_column(heading, justify="right")
    table.add_column("worst Dice")
    for name, statistics in summary.classes.items():
        table.add_row(*_cells(name, statistics))
    if len(summary.classes) > 1:
        table.add_section()
        table.add_row(*_cells("all classes", summary.foreground), style="bold")
    return table


def headings(nsd_tolerance_mm: float) -> list[str]:
    """Return the headings of `MEASURES`, the tolerance of the normalised surface Dice with its own."""
    return [f"NSD {nsd_tolerance_mm:g} mm" if heading == "NSD" else heading for heading, _ in MEASURES.values()]


def means(statistics: Mapping[str, Statistic]) -> list[str]:
    """Return the means under `headings`, "-" for what was not scored."""
    return [
        format(statistics[measure].mean, form) if measure in statistics else "-"
        for measure, (_, form) in MEASURES.items()
    ]


def _cells(name: str, statistics: Mapping[str, Statistic]) -> list[str]:
    dice = statistics.get("dice")
    worst = f"{dice.worst:.3f} {dice.worst_in}" if dice else "-"
    return [name, str(dice.scored if dice else 0), *means(statistics), worst]
