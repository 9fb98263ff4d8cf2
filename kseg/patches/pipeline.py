"""The tf.data graph: shards in, batches of patches out, the same for the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from kseg.patches.patch import Patch, PatchCutter
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.sections import Patches
from kseg.records.intensity import Scale
from kseg.records.manifest import Manifest
from kseg.records.schema import label_dtype, parse

MIXED_VOLUMES = 4
READY_BATCHES = 4
MOST_AT_WORK = 8  # records from which patches are cut at once,
WORKING_BYTES = 4 * 2**30  # or fewer, where they are large


@dataclass(frozen=True)
class PatchSource:
    """Patches of one split of a prepared dataset.

    `folder` holds the shards of `manifest`; `options` is the recipe's section; `seed` decides every draw; `scales` are
    those of the channels (`kseg.records.intensity.normalise`). Patches of the split `train` alone are flipped and
    augmented, whatever the options say.
    """

    folder: Path
    manifest: Manifest
    split: str
    options: Patches
    seed: int
    scales: tuple[Scale, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)

    def batches(self, epochs: Sequence[int] | range, steps_per_epoch: int) -> tf.data.Dataset:
        """Return batches of (image `(batch, x, y, z, channels)` float32, labels `(batch, x, y, z)`).

        An epoch is a number of steps; everything in it follows from the seed and the epoch's number, so that a
        run resumed at an epoch sees what an undisturbed one would have seen. Across epochs the cases take turns:
        none comes again before all others have come.
        """
        patches = tf.data.Dataset.from_tensor_slices(tf.cast(list(epochs), tf.int64)).flat_map(
            lambda epoch: self._epoch(epoch, steps_per_epoch * self.options.batch_size)
        )
        batches = patches.batch(self.options.batch_size, drop_remainder=True)
        count = tf.data.experimental.assert_cardinality(len(epochs) * steps_per_epoch)
        # Sizes of ours instead of tuned ones: the tuner sleeps up to a minute, and a command that ends waits for it.
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.apply(count).prefetch(READY_BATCHES).with_options(options)

    def _epoch(self, epoch: tf.Tensor, count: int) -> tf.data.Dataset:
        per_volume = self.options.per_volume
        records = math.ceil(count / per_volume)
        seed = tf.cast(self.seed, tf.int64)
        numbers = tf.data.Dataset.range(epoch * records, (epoch + 1) * records)  # counts the records of a whole run
        return (
            tf.data.Dataset.zip(numbers, numbers.flat_map(self._record))
            .map(
                lambda number, record: self._cut(record, tf.stack([seed, number * per_volume])),
                num_parallel_calls=self._at_work(),
            )
            # Volumes take turns, so that a batch mixes them; a shuffle would hang on TensorFlow's global seed too.
            .interleave(lambda *patches: tf.data.Dataset.from_tensor_slices(patches), cycle_length=MIXED_VOLUMES)
            .take(count)
        )

    def _record(self, number: tf.Tensor) -> tf.data.Dataset:
        """Return the run's `number`-th record, serialised, and its spacing; each pass over the cases has its own order.

        Records are found by their place in a shard: what comes before is skipped, not read, and there is no buffer
        to shuffle in, which could hold but one or two large volumes.
        """
        found = self.manifest.places_of(self.split)
        files = [str(self.folder / place.shard.file) for place in found]
        places = [place.before for place in found]
        turn, index = number // len(files), number % len(files)
        seed = tf.stack([tf.cast(self.seed, tf.int64), turn])
        case = tf.random.experimental.stateless_shuffle(tf.range(len(files)), seed=seed)[index]
        record = tf.data.TFRecordDataset(tf.constant(files)[case]).skip(tf.constant(places, tf.int64)[case]).take(1)
        spacings_mm = tf.constant([place.case.spacing_mm for place in found], tf.float32)
        return tf.data.Dataset.zip(record, tf.data.Dataset.from_tensors(spacings_mm[case]))

    @property
    def _cutter(self) -> PatchCutter:
        augmentation = self.augmentation if self.split == "train" else None
        dtype = label_dtype(self.manifest.label_map.num_classes)
        return PatchCutter(self.options, augmentation, len(self.manifest.channels), dtype.name, self.scales)

    def _at_work(self) -> int:
        """Return from how many records patches are cut at once: each is held serialised, parsed and unpacked."""
        shards = [place.shard for place in self.manifest.places_of(self.split)]
        largest = max(shard.bytes // shard.records for shard in shards)
        return max(1, min(MOST_AT_WORK, WORKING_BYTES // (3 * largest)))

    def _cut(self, record: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> Patch:
        """Cut `per_volume` patches from a serialised record and its spacing; each patch has a seed of its own."""
        serialized, spacing_mm = record
        example = parse(serialized)
        seeds = seed + [[0, number] for number in range(self.options.per_volume)]
        cutter = self._cutter
        types = (tf.float32, tf.as_dtype(cutter.label_dtype))

        def cut(one: tf.Tensor) -> Patch:
            return cutter(example, spacing_mm, one)

        # Traced once, and one after another: records are at work side by side, each with the memory of one patch.
        return tf.map_fn(cut, seeds, parallel_iterations=1, fn_output_signature=types)
