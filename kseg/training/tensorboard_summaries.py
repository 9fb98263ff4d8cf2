"""What TensorBoard shows of a run beside its curves: recipe, hyperparameters, pictures, precision over recall."""

from collections.abc import Callable, Iterator
from itertools import count

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.pr_curve.summary import raw_data_pb

from kseg.patches.patch_source import PatchSource
from kseg.pictures.png import png_bytes
from kseg.pictures.three_planes import three_planes
from kseg.recipe.hyperparameters import hyperparameters
from kseg.recipe.load import dump_recipe
from kseg.runs.precision_recall import THRESHOLDS, ThresholdCounts, write_precision_recall
from kseg.runs.run import Run
from kseg.runs.tensorboard_tags import patch_tag
from kseg.training.budget import Budget

LOOKS = 10
"""A run is looked at so many times at most, evenly, besides once at its end."""
SHARE = 0.02
"""Of a bounded time that looks may take."""
PICTURES = 2
"""Of a look, each of another case."""
ROW_INCHES, DOTS_PER_INCH = 1.5, 120
"""Of a picture: small, so that its words are large where TensorBoard shows it a few centimetres wide."""


class TensorBoardSummaries(keras.callbacks.Callback):
    """Writes recipe and hyperparameters when training begins, and looks at the validation patches now and then.

    A look is a precision-recall curve of each class, or region, over all validation patches, and pictures of the first
    of these that hold foreground, under the names of their cases: truth and prediction outlined in three planes. It
    takes place with the weights that are validated, and, where `train.max_minutes` counts, as rarely as `SHARE` says.
    The newest curves are kept as CSV too.

    Args:
        run: whose recipe is shown, and in whose folder it is shown.
        budget: knows how much of the run is spent.
        batches: validation patches, batch by batch: image `(batch, x, y, z, channels)`, labels `(batch, x, y, z)`.
        ends: says whether the run is to end here; there is no time to look then.
    """

    def __init__(
        self,
        run: Run,
        budget: Budget,
        batches: tf.data.Dataset,
        ends: Callable[[], bool] = lambda: False,
    ):
        super().__init__()
        self.recipe = run.recipe
        self.curves = run.folder.precision_recall
        self.budget = budget
        self.batches = batches
        self.label_map = run.description.label_map
        self.class_names = self.label_map.structure_names
        self._spacings_mm = {entry.case: entry.spacing_mm for entry in run.manifest.cases}
        self._source = PatchSource(run.records, run.manifest, "val", run.recipe.patches, run.recipe.seed)
        self.ends = ends
        self._writer = tf.summary.create_file_writer(str(run.folder.logs))
        self._epoch = 0
        self._next_look = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Write what the run is."""
        with self._writer.as_default():
            tf.summary.text("recipe", f"```toml\n{dump_recipe(self.recipe)}\n```", step=0)
            hparams.hparams(hyperparameters(self.recipe), trial_id=self.recipe.name)
        self._writer.flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember where the run is, in epochs counted from 1."""
        self._epoch = epoch + 1

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Look, if it is time."""
        progress = self.budget.progress
        last = self._epoch == self.recipe.train.epochs or self.model.stop_training
        if self.ends() or (progress < self._next_look and not last):
            return
        began = self.budget.spent_seconds
        self._look()
        took = self.budget.spent_seconds - began
        self.budget.count_look(took)
        apart = took / self.budget.limit_seconds / SHARE
        self._next_look = max((np.floor(progress * LOOKS) + 1) / LOOKS, self.budget.progress + apart)

    def _look(self) -> None:
        structures = self.label_map.structures
        counts = ThresholdCounts(structures)
        with self._writer.as_default(step=self._epoch):
            numbers, drawn = count(), set[str]()
            for batch in self.batches:
                if self.ends():
                    return
                outputs = (*batch, self.model(batch[0], training=False))
                images, labels, probabilities = (ops.convert_to_numpy(tensor) for tensor in outputs)
                counts.add(labels, probabilities)
                for image, truth, likely in zip(images, labels, probabilities, strict=True):
                    number = next(numbers)
                    has_foreground = ((truth > 0) & (truth < structures.num_classes)).any()
                    if len(drawn) < PICTURES and has_foreground and (case := self._source.case_of(number)) not in drawn:
                        self._draw(case, image, truth, structures.class_indices(likely))
                        drawn.add(case)
            for name, summary in _curves(counts, self.class_names):
                tf.summary.experimental.write_raw_pb(summary, name=name)
        self._writer.flush()
        write_precision_recall(counts, self.class_names, self.curves)

    def _draw(self, case: str, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
        figure = three_planes(
            image[..., 0],
            truth,
            prediction,
            spacing_mm=self._spacings_mm[case],
            class_names=self.class_names,
            members=self.label_map.structures.members,
            title=f"{case}, epoch {self._epoch}",
            row_inches=ROW_INCHES,
        )
        tf.summary.image(patch_tag(case), tf.io.decode_png(png_bytes(figure, DOTS_PER_INCH), channels=3)[None])


def _curves(counts: ThresholdCounts, class_names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    true, false = counts.positives
    missed = counts.missed
    precision, recall = counts.precision_and_recall()
    for row, name in enumerate(class_names):
        rejected = counts.voxels - true[row] - false[row] - missed[row]
        summary = raw_data_pb(
            name, true[row], false[row], rejected, missed[row], precision[row], recall[row], len(THRESHOLDS)
        )
        yield name, summary.SerializeToString()
