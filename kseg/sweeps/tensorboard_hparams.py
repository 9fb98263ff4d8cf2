"""A sweep in TensorBoard's HParams page: which keys differ between its runs, and which scores to sort them by."""

from collections.abc import Sequence
from pathlib import Path

from kseg.recipe.hyperparameters import hyperparameters
from kseg.recipe.sweep import SweepRun
from kseg.runs.tensorboard_tags import DICE, LOSS, volume_tag

METRICS = (
    (DICE, "validation", "validation patches: Dice"),
    (LOSS, "validation", "validation patches: loss"),
    (volume_tag("test", "Dice"), "", "test volumes: Dice"),
    (volume_tag("test", "HD95 mm"), "", "test volumes: HD95 mm"),
)


def differing_keys(runs: Sequence[SweepRun]) -> list[str]:
    """Return the recipe's keys whose values are not the same in all runs, the seed among them."""
    tables = [hyperparameters(run.recipe) for run in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    return [key for key in keys if len({str(table.get(key)) for table in tables}) > 1]


def write_hparams_config(runs: Sequence[SweepRun], folder: Path) -> None:
    """Write what the page has for columns into the folder that holds all runs; an earlier one is replaced."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        hparams.hparams_config(
            [hparams.HParam(key) for key in differing_keys(runs)],
            [hparams.Metric(tag, group=group, display_name=name) for tag, group, name in METRICS],
        )
    writer.close()
