"""The tf.data graph: shards in, batches of normalised patches out, the same for the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from kseg.patches.augment import draw_flips, flip
from kseg.patches.crop import crop
from kseg.patches.sampling import draw_start
from kseg.recipe import Patches
from kseg.records.manifest import Manifest
from kseg.records.schema import label_dtype, parse

MIXED_VOLUMES = 4
MOST_AT_WORK = 8  # records from which patches are cut at once,
WORKING_BYTES = 4 * 2**30  # or fewer, where they are large


@dataclass(frozen=True)
class PatchSource:
    """Patches of one split of a prepared dataset.

    `folder` holds the shards of `manifest`; `options` is the recipe's section; `seed` decides every draw.
    """

    folder: Path
    manifest: Manifest
    split: str
    options: Patches
    seed: int

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
        return batches.apply(count).prefetch(tf.data.AUTOTUNE)

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
        """Return the serialised record that is the run's `number`-th; each pass over the cases has its own order.

        Records are found by their place in a shard: what comes before is skipped, not read, and there is no buffer
        to shuffle in, which could hold but one or two large volumes.
        """
        shards = self.manifest.shards_of(self.split)
        files = [str(self.folder / shard.file) for shard in shards for _ in range(shard.records)]
        places = [place for shard in shards for place in range(shard.records)]
        turn, index = number // len(files), number % len(files)
        seed = tf.stack([tf.cast(self.seed, tf.int64), turn])
        case = tf.random.experimental.stateless_shuffle(tf.range(len(files)), seed=seed)[index]
        return tf.data.TFRecordDataset(tf.constant(files)[case]).skip(tf.constant(places, tf.int64)[case]).take(1)

    @property
    def _label_dtype(self) -> str:
        return label_dtype(self.manifest.label_map.num_classes).name

    def _at_work(self) -> int:
        """Return from how many records patches are cut at once: each is held serialised, parsed and unpacked."""
        largest = max(shard.bytes // shard.records for shard in self.manifest.shards_of(self.split))
        return max(1, min(MOST_AT_WORK, WORKING_BYTES // (3 * largest)))

    def _cut(self, record: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Cut `per_volume` patches from a serialised record; each has a seed of its own."""
        example = parse(record)
        seeds = seed + [[0, number] for number in range(self.options.per_volume)]
        types = (tf.float32, tf.as_dtype(self._label_dtype))
        return tf.map_fn(lambda one: self._patch(example, one), seeds, fn_output_signature=types)  # traced once

    def _patch(self, example: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split(seed, 2)
        size, dtype = self.options.size, self._label_dtype
        start = draw_start(example, size, self.options.foreground_oversampling, dtype, seeds[0])
        image, labels = crop(example, start, size, len(self.manifest.channels), dtype)
        flips = draw_flips(self.options.flip_axes, seeds[1])
        return flip(image, flips), flip(labels, flips)
