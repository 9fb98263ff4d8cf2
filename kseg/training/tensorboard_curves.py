"""The curves that TensorBoard shows of a run: a value an epoch, epochs counted from 1 as in the log."""

from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from kseg.runs.owned_files import CURVES
from kseg.runs.tensorboard_tags import PENALTIES, curve_tag

TRAIN, VALIDATION, *LEARNED = CURVES
VALIDATED = "val_"


class TensorBoardCurves(keras.callbacks.Callback):
    """Writes each epoch's logs where TensorBoard finds them, under the names of `kseg.runs.tensorboard_tags`.

    Keras' own callback leaves no choice of the names and counts epochs from 0. TensorBoard draws a line for each folder
    with events: `train` and `validation` have the curves that both have, `alpha` and `beta` one each, so that the two
    stand in one chart.

    Args:
        logs: folder of the run's events.
    """

    def __init__(self, logs: Path):
        super().__init__()
        self._folder = logs
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write a value for each curve."""
        values = {**(logs or {}), "learning_rate": float(ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        for name, value in values.items():
            of_validation = name.startswith(VALIDATED)
            plain = name.removeprefix(VALIDATED)
            if plain not in LEARNED:
                self._write(VALIDATION if of_validation else TRAIN, curve_tag(plain), value, epoch + 1)
            elif not of_validation:  # the penalties of a validation are the training's
                self._write(plain, PENALTIES, value, epoch + 1)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, folder: str, tag: str, value: float, epoch: int) -> None:
        if folder not in self._writers:
            self._writers[folder] = tf.summary.create_file_writer(str(self._folder / folder))
        with self._writers[folder].as_default(step=epoch):
            tf.summary.scalar(tag, value)
