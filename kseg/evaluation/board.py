"""Scores of whole volumes in TensorBoard, beside the curves of the run that they are about."""

from pathlib import Path

from kseg.evaluation.scores import Summary


def write_scalars(summary: Summary, logs: Path, split: str) -> None:
    """Write the means of all measures over the foreground as `<split>_<measure>`."""
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default(step=0):
        for measure, statistic in summary.foreground.items():
            tf.summary.scalar(f"{split}_{measure}", statistic.mean)
    writer.close()
