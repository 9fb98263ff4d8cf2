"""Scores on disk, on the terminal and in TensorBoard: a CSV row per case and class, a summary in JSON, a table."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table

from kseg.console.text import counted
from kseg.evaluation.measure_agreement import MeasureAgreement
from kseg.evaluation.scores import ClassScore, Statistic, Summary
from kseg.runs.owned_files import split_files
from kseg.runs.tensorboard_tags import volume_tag
from kseg.storage.files import whole_file

MEASURES = {
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95 mm", ".2f"),
    "nsd": ("NSD", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "volume_error_percent": ("volume error %", "+.1f"),
    "absolute_volume_error_percent": ("absolute volume error %", ".1f"),
}
"""What tables show of a summary: heading and form of each measure."""
NOTE = "n: masks in the mean of Dice"
WORST = "worst Dice"
WIDE = ((), ("precision", "recall"), ("precision", "recall", WORST))
"""Columns that a narrow terminal does without: none, some or more."""
MAX_NAME = 24
"""Letters of a class that a table on the terminal keeps on one line."""
SIGNED, ABSOLUTE = "volume_error_percent", "absolute_volume_error_percent"
"""The mean of signed errors over classes says little alone: they cancel. Of one case and class the sign says all."""
VOLUMES = {"truth_ml": "truth ml", "prediction_ml": "prediction ml"}
"""What a table by case shows besides."""
EXPECTED = "expected Dice"
"""And where it is known what Dice was to be expected; its interval is in the CSV."""


def write_scores(
    scores_by_case: Mapping[str, Sequence[ClassScore]],
    summary: Summary,
    folder: Path,
    split: str,
    models: Sequence[str] = (),
    agreement: MeasureAgreement | None = None,
    scored: Mapping[str, Any] | None = None,
) -> None:
    """Write `<split>.csv` and `<split>.json` into `folder`, each all or not at all.

    The CSV has a row for each case and class; what is not scored is an empty field. The JSON holds `split`, `models`
    (SHA-256 of those that segmented), `scored` (`kseg.evaluation.scored_masks`), `summary`, `measure_agreement` and
    `cases` (the same rows by case), with null for what is not scored.
    """
    rows = {case: [asdict(score) for score in scores] for case, scores in scores_by_case.items()}
    document = {
        "split": split,
        "models": list(models),
        "scored": dict(scored or {}),
        "summary": asdict(summary),
        "measure_agreement": asdict(agreement) if agreement else None,
        "cases": rows,
    }
    scores_file, table_file, _ = split_files(split)
    with whole_file(folder / scores_file) as path:
        path.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")

    names = [field.name for field in fields(ClassScore)]
    with whole_file(folder / table_file) as path, path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["case", *names], lineterminator="\n")
        table.writeheader()
        table.writerows({"case": case, **row} for case, members in rows.items() for row in members)


def write_scalars(summary: Summary, logs: Path, split: str) -> None:
    """Write the means of all measures over the foreground; of volume errors that without signs alone."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default(step=0):
        for measure, statistic in summary.foreground.items():
            if measure != SIGNED:
                heading, _ = MEASURES[measure]
                tf.summary.scalar(volume_tag(split, heading), statistic.mean)
    writer.close()


def score_table(summary: Summary, console: Console | None = None) -> Table:
    """The means of every class, and of all classes in the last line, with the case whose Dice is worst.

    Args:
        summary: of the scores.
        console: where the table is to be shown; columns of `WIDE` that do not fit there are left out. None for all.
    """
    for left_out in WIDE:
        table = _table(summary, left_out)
        if console is None or _least_width(table, console) <= console.width:
            break
    return table


def headings(nsd_tolerance_mm: float, least_mm: float) -> list[str]:
    """Return the headings of `MEASURES`, that of the normalised surface Dice with its tolerance, or its range."""
    least, largest = f"{least_mm:.3g}", f"{nsd_tolerance_mm:.3g}"
    tolerance = largest if least == largest else f"{least} to {largest}"
    return [f"NSD {tolerance} mm" if heading == "NSD" else heading for heading, _ in MEASURES.values()]


def means(statistics: Mapping[str, Statistic]) -> list[str]:
    """Return the means under `headings`, "-" for what was not scored."""
    return [
        format(statistics[measure].mean, form) if measure in statistics else "-"
        for measure, (_, form) in MEASURES.items()
    ]


def partly_labelled_note(partly_labelled: int, cases: int) -> str:
    """Return why surfaces and volumes of so many cases are not scored; empty where there are none."""
    if not partly_labelled:
        return ""
    return (
        f"{partly_labelled} of {counted(cases, 'case')} labelled in part: scored on labelled voxels, "
        "without HD95, NSD and volumes, which need the whole"
    )


def case_headings(nsd_tolerance_mm: float, least_mm: float, expected: bool = False) -> list[str]:
    """Return the headings of `case_cells`; `expected` for that of the expected Dice too."""
    measures = zip(MEASURES, headings(nsd_tolerance_mm, least_mm), strict=True)
    shown = [*(heading for measure, heading in measures if measure != ABSOLUTE), *VOLUMES.values()]
    return [*shown, EXPECTED] if expected else shown


def case_cells(score: ClassScore, expected: bool = False) -> list[str]:
    """Return what a table shows of a class in a case, "-" for what was not scored; `expected` for that Dice too."""
    cells = [case_cell(score, measure) for measure in MEASURES if measure != ABSOLUTE]
    cells += [_millilitres(getattr(score, volume)) for volume in VOLUMES]
    return [*cells, "-" if score.expected_dice is None else f"{score.expected_dice:.2f}"] if expected else cells


def case_cell(score: ClassScore, measure: str) -> str:
    """Return what a table shows of one of the `MEASURES` of a class in a case, "-" for what was not scored."""
    value, (_, form) = getattr(score, measure), MEASURES[measure]
    return "-" if value is None else format(value, form)


def _millilitres(volume_ml: float | None) -> str:
    return "-" if volume_ml is None else format(volume_ml, ".1f" if volume_ml >= 10 else ".3g")


def _table(summary: Summary, left_out: Sequence[str]) -> Table:
    more = f"; {', '.join(left_out)}: in the report" if left_out else ""
    caption = "; ".join(filter(None, [f"{NOTE}{more}", partly_labelled_note(summary.partly_labelled, summary.cases)]))
    table = Table(title=f"Means over {counted(summary.cases, 'case')}", caption=caption)
    widest = max(map(len, summary.classes), default=0)
    columns = ["class", "n", *headings(summary.nsd_tolerance_mm, summary.nsd_tolerance_least_mm), WORST]
    shown = [number for number, heading in enumerate(columns) if heading not in left_out]
    for number in shown:
        if number == 0:
            table.add_column(columns[number], overflow="fold", no_wrap=widest <= MAX_NAME)
        else:
            justify: JustifyMethod = "left" if columns[number] == WORST else "right"
            table.add_column(columns[number], overflow="fold", justify=justify)
    for name, statistics in summary.classes.items():
        cells = _cells(name, statistics)
        table.add_row(*(cells[number] for number in shown))
    if len(summary.classes) > 1:
        table.add_section()
        cells = _cells("all classes", summary.foreground)
        table.add_row(*(cells[number] for number in shown), style="bold")
    return table


def _least_width(table: Table, console: Console) -> int:
    """The width of a table whose longest words just fit."""
    return console.measure(table, options=console.options.update_width(10_000)).minimum


def _cells(name: str, statistics: Mapping[str, Statistic]) -> list[str]:
    dice = statistics.get("dice")
    worst = f"{dice.worst:.3f} {dice.worst_in}" if dice else "-"
    return [name, str(dice.scored if dice else 0), *means(statistics), worst]
