"""The table of a sweep: means and deviations by hand, and the order that a reference has beside ours."""

from pathlib import Path

from kseg.recipe.sweep import Reference, Sweep, load_sweep
from kseg.sweeps.run_scores import RunScores, Training
from kseg.sweeps.table import Row, mean_table, orders

SWEEP = """
name = "g"
[grid]
seeds = [1, 2]
[grid.axes.a]
x = []
y = ["train.epochs=7"]
z = ["train.epochs=8"]
[grid.reference]
source = "paper"
dice = { x = 0.5, y = 0.7 }
"""


def rows(sweep: Sweep) -> list[Row]:
    dice = {("x", 1): 0.7, ("x", 2): 0.8, ("y", 1): 0.5, ("y", 2): 0.7, ("z", 1): 0.1, ("z", 2): 0.1}
    return [
        (
            run,
            RunScores(
                made_from="",
                training=Training(
                    parameters=1234,
                    epochs=5,
                    minutes=2.0,
                    step_seconds=0.25 * run.seed,
                    best_val_dice=0.5,
                    epochs_to_90=run.seed,
                    alpha=None if run.title == "y" else 0.25 * run.seed,
                ),
                dice={"test": dice[run.title, run.seed]},
                dice_by_class={"test": {"a": 0.5}},
                precision={"test": 0.5},
                recall={},
                hd95_mm={"test": 3.0},
            ),
        )
        for run in sweep.runs
    ]


def test_means_spread_and_reference(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(SWEEP, encoding="utf-8")
    sweep = load_sweep(path)
    table = mean_table(rows(sweep), sweep.reference)
    assert list(table) == ["x", "y", "z"]
    x, y, z = table.values()
    # 0.7 and 0.8: mean 0.75, deviation 0.1 / sqrt(2) = 0.0707.
    assert (x["test Dice"], x["val Dice"], x["ms a step"]) == ("0.750 +- 0.071", "-", "375")
    assert (x["alpha"], y["alpha"]) == ("0.375 +- 0.177", "-")
    assert (x["epochs to 90 %"], x["test recall"], x["test HD95 mm"]) == ("1.5", "-", "3.00")
    assert [one["paper: Dice"] for one in (x, y, z)] == ["0.50", "0.70", "-"]
    assert sweep.reference == Reference(source="paper", dice={"x": 0.5, "y": 0.7})
    assert orders(rows(sweep), sweep.reference) == (["x", "y"], ["y", "x"])
