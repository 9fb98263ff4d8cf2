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

SHUFFLE_BYTES = 512 * 2**20  # serialised records that wait in the shuffle buffer
PARALLEL_SHARDS = 4


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
        run resumed at an epoch sees what an undisturbed one would have seen.
        """
        patches = tf.data.Dataset.from_tensor_slices(tf.cast(list(epochs), tf.int64)).flat_map(
            lambda epoch: self._epoch(epoch, steps_per_epoch * self.options.batch_size)
        )
        batches = patches.batch(self.options.batch_size, drop_remainder=True)
        count = tf.data.experimental.assert_cardinality(len(epochs) * steps_per_epoch)
        return batches.apply(count).prefetch(tf.data.AUTOTUNE)

    def _epoch(self, epoch: tf.Tensor, count: int) -> tf.data.Dataset:
        shards = self.manifest.shards_of(self.split)
        files = [str(self.folder / shard.file) for shard in shards]
        largest = max(shard.bytes // shard.records for shard in shards)
        records_kept = max(1, min(len(self.manifest.of_split(self.split)), SHUFFLE_BYTES // largest))
        per_volume = self.options.per_volume
        seed = tf.cast(self.seed, tf.int64)
        order = tf.random.experimental.stateless_shuffle(tf.constant(files), seed=tf.stack([seed, epoch]))
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .interleave(tf.data.TFRecordDataset, cycle_length=min(PARALLEL_SHARDS, len(files)))
            .shuffle(records_kept, seed=seed + epoch)  # whole records, still compressed: before they grow
            .repeat()
            .take(math.ceil(count / per_volume))
            .enumerate()
            .map(
                lambda index, record: self._cut(record, tf.stack([seed, epoch * count + index * per_volume])),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .unbatch()
            .take(count)
            .shuffle(4 * per_volume, seed=seed + epoch)  # so that a batch mixes volumes
        )

    def _cut(self, record: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Cut `per_volume` patches from a serialised record; each has a seed of its own."""
        example = parse(record)
        patches = [
            self._patch(example, seed + tf.constant([0, number], tf.int64)) for number in range(self.options.per_volume)
        ]
        images, labels = zip(*patches, strict=True)
        return tf.stack(images), tf.stack(labels)

    def _patch(self, example: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split(seed, 2)
        size, dtype = self.options.size, label_dtype(self.manifest.label_map.num_classes).name
        start = draw_start(example, size, self.options.foreground_oversampling, dtype, seeds[0])
        image, labels = crop(example, start, size, len(self.manifest.channels), dtype)
        flips = draw_flips(self.options.flip_axes, seeds[1])
        return flip(image, flips), flip(labels, flips)
