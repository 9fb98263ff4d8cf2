"""Reports read back: the numbers of the scores, standard JSON, empty fields for what is not scored."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kseg.evaluation.score_tables import (
    case_cells,
    case_headings,
    headings,
    score_table,
    write_scalars,
    write_scores,
)
from kseg.evaluation.scores import ClassScore, score_case, summarise


@pytest.fixture
def scores() -> dict[str, list[ClassScore]]:
    """Two cases; the class 'gastrocnemius' is missing from the second."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, (8, 9, 10), dtype=np.uint8)
    second = rng.integers(0, 2, (8, 9, 10), dtype=np.uint8)
    names = ["soleus", "gastrocnemius"]
    return {
        "müller, [left]": score_case(first, np.roll(first, 1, 0), np.diag([1, 1, 2, 1]), names, 1.5),
        "p2": score_case(second, second, np.diag([1, 1, 2, 1]), names, 1.5),
    }


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_json_holds_summary_and_scores_and_is_standard(scores: dict[str, list[ClassScore]], tmp_path: Path) -> None:
    summary = summarise(scores)
    write_scores(scores, summary, tmp_path / "run", "test")
    document = json.loads((tmp_path / "run" / "test.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["split"] == "test"
    assert document["summary"] == asdict(summary)
    assert document["cases"] == {case: [asdict(score) for score in members] for case, members in scores.items()}
    assert document["cases"]["p2"][1]["dice"] is None


def test_csv_has_a_row_for_each_case_and_class(scores: dict[str, list[ClassScore]], tmp_path: Path) -> None:
    write_scores(scores, summarise(scores), tmp_path, "val")
    with (tmp_path / "val.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(case, score) for case, members in scores.items() for score in members]
    assert [(row["case"], row["class_name"]) for row in rows] == [(c, s.class_name) for c, s in expected]
    for row, (_, score) in zip(rows, expected, strict=True):
        assert row["hd95_mm"] == ("" if score.hd95_mm is None else repr(score.hd95_mm))
        assert row["dice"] == ("" if score.dice is None else repr(score.dice))


def test_a_report_replaces_the_last_one_and_leaves_nothing_else(
    scores: dict[str, list[ClassScore]], tmp_path: Path
) -> None:
    for members in (scores, {"p2": scores["p2"]}):
        write_scores(members, summarise(members), tmp_path, "val")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["val.csv", "val.json"]
    assert list(json.loads((tmp_path / "val.json").read_text(encoding="utf-8"))["cases"]) == ["p2"]


def test_a_number_that_json_cannot_hold_leaves_the_last_report(
    scores: dict[str, list[ClassScore]], tmp_path: Path
) -> None:
    write_scores(scores, summarise(scores), tmp_path, "val")
    before = (tmp_path / "val.json").read_bytes()
    spoilt = {"p9": [ClassScore("soleus", float("nan"), 1, 1, 1, 1, 1, 1, 1, 1)]}
    with pytest.raises(ValueError, match="JSON"):
        write_scores(spoilt, summarise(spoilt), tmp_path, "val")
    assert (tmp_path / "val.json").read_bytes() == before


def test_table_shows_the_means_and_the_worst_case(scores: dict[str, list[ClassScore]]) -> None:
    console = Console(width=160, markup=False, emoji=False)  # as kseg.console.terminal has them
    with console.capture() as capture:
        console.print(score_table(summarise(scores)))
    lines = {line.strip("│ ").split()[0]: line for line in capture.get().splitlines() if line.startswith("│")}
    worst = scores["müller, [left]"]
    mean_dice = (worst[0].dice + 1) / 2
    assert f"{mean_dice:.3f}" in lines["soleus"]
    assert f"{worst[0].dice:.3f} müller, [left]" in lines["soleus"]
    assert [cell.strip() for cell in lines["gastrocnemius"].split("│")][2] == "1"
    assert "NSD 1.5 mm" in capture.get()
    assert "all" in lines
    errors = [score.volume_error_percent for members in scores.values() for score in members]
    found = [error for error in errors if error is not None]
    cells = [cell.strip() for cell in lines["all"].split("│")]
    assert f"{np.mean(np.abs(found)):.1f}" in cells
    assert f"{np.mean(found):+.1f}" in cells


def test_the_heading_has_the_range_of_tolerances_where_voxels_differ() -> None:
    assert headings(2.5, 2.5)[2] == headings(2.50000001, 2.5)[2] == "NSD 2.5 mm"
    assert headings(2.5, 1.0)[2] == "NSD 1 to 2.5 mm"


def test_a_row_of_a_case_has_what_was_scored_under_its_heading(scores: dict[str, list[ClassScore]]) -> None:
    missing = dict(zip(case_headings(1.5, 1.5), case_cells(scores["p2"][1]), strict=True))
    assert missing["Dice"] == missing["NSD 1.5 mm"] == missing["volume error %"] == "-"
    assert missing["truth ml"] == missing["prediction ml"] == "0"
    score = ClassScore("soleus", 0.5, 0.25, 1.0, 12.345, 0.75, 1.5, 153.26, 0.01234, -99.99)
    assert case_cells(score) == ["0.500", "12.35", "0.750", "0.250", "1.000", "-100.0", "153.3", "0.0123"]


def test_tensorboard_gets_no_mean_of_signed_errors(scores: dict[str, list[ClassScore]], tmp_path: Path) -> None:
    write_scalars(summarise(scores), tmp_path, "test")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    measures = ("Dice", "HD95 mm", "NSD", "precision", "recall", "absolute volume error %")
    assert set(events.Tags()["tensors"]) == {f"Scores of test volumes/{measure}" for measure in measures}


@pytest.mark.parametrize(("width", "left_out"), [(160, 0), (120, 0), (105, 2), (80, 3)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(width: int, left_out: int) -> None:
    names = ("soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis")
    scores = {"leg": [ClassScore(name, 0.5, 0.51, 0.52, 120.3, 0.53, 2.5, 100, 110, 105.94) for name in names]}
    console = Console(width=width, markup=False, emoji=False)
    table = score_table(summarise(scores), console)
    assert len(table.columns) == 10 - left_out
    with console.capture() as capture:
        console.print(table)
    line = next(line for line in capture.get().splitlines() if "gastrocnemius_lateralis" in line)
    for number in ("0.500", "120.30", "0.530", "+105.9", "105.9"):
        assert f" {number} " in line
    assert max(map(len, capture.get().splitlines())) <= width


def test_table_of_a_class_never_scored_shows_dashes() -> None:
    empty = np.zeros((3, 3, 3), np.uint8)
    table = score_table(summarise({"p1": score_case(empty, empty, np.eye(4), ["soleus"], 1)}))
    assert [next(iter(column.cells)) for column in table.columns] == ["soleus", "0", *["-"] * 8]


def test_the_dice_that_was_expected_has_a_column_where_it_is_known() -> None:
    unknown = ClassScore("soleus", 0.5, 0.25, 1.0, 12.345, 0.75, 1.5, 153.26, 0.01234, -99.99)
    known = replace(unknown, expected_dice=0.876, expected_dice_low=0.8, expected_dice_high=0.9)
    for score, cell in ((known, "0.88"), (unknown, "-")):
        cells = dict(zip(case_headings(1, 1, expected=True), case_cells(score, expected=True), strict=True))
        assert cells["expected Dice"] == cell
    assert "expected Dice" not in case_headings(1, 1)
