"""The tf.data graph: shards in, batches of patches out, the same for the same seed."""

from dataclasses import dataclass, field

import tensorflow as tf

from kseg.console.machine import cores
from kseg.patches.patch_cutter import Patch, PatchCutter
from kseg.patches.shards import read_head
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.sections import Patches
from kseg.records.manifest import Manifest
from kseg.storage.locations import Location
from kseg.volumes.intensity_normalisation import Scale
from kseg.volumes.labels import index_dtype

READY_BATCHES = 4
MAX_AT_WORK = 8
ENDLESS = 10**12
"""More steps than any run makes."""


@dataclass(frozen=True)
class WorkerShare:
    """What a worker cuts of each batch: the `index`-th of `workers` equal parts, for its own `devices`."""

    index: int = 0
    workers: int = 1
    devices: int = 1


WHOLE = WorkerShare()


@dataclass(frozen=True)
class PatchSource:
    """Patches of one split of a prepared dataset.

    `folder` holds the shards of `manifest`; `options` is the recipe's section; `seed` decides every draw; `scales` are
    those of the channels (`volumes.intensity_normalisation`). Patches of the split `train` alone are flipped and
    augmented, whatever the options say.
    """

    folder: Location
    manifest: Manifest
    split: str
    options: Patches
    seed: int
    scales: tuple[Scale, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)

    def batches(self, steps: range, share: WorkerShare = WHOLE) -> tf.data.Dataset:
        """Return batches of (image `(batch, x, y, z, channels)` float32, labels `(batch, x, y, z)`), one a step.

        Everything in a batch follows from the seed and the step's number, counted from the run's beginning, so that
        a run resumed at a step sees what an undisturbed one would have seen. Across steps the cases take turns: none
        comes again before all others have come.

        A `share` has as many batches a step as devices, each as many times smaller as there are devices in all: the
        shares of all workers together are the batch of one. Patches of other shares are not cut, nor their bricks read.
        """
        size = self.options.batch_size
        first, own = share.index * size // share.workers, size // share.workers
        numbers = tf.data.Dataset.range(steps.start, steps.stop, steps.step).flat_map(
            lambda step: tf.data.Dataset.range(step * size + first, step * size + first + own)
        )
        at_work = min(MAX_AT_WORK, 1 + cores())  # as many as keep the cores busy while others wait for the disk
        patches = numbers.map(self._patch, num_parallel_calls=at_work)
        batches = patches.batch(own // share.devices, drop_remainder=True)
        count = tf.data.experimental.assert_cardinality(len(steps) * share.devices)
        # Sizes of ours instead of tuned ones: the tuner sleeps up to a minute, and a command that ends waits for it.
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.apply(count).prefetch(READY_BATCHES).with_options(options)

    @tf.autograph.experimental.do_not_convert  # as `PatchCutter`
    def _patch(self, number: tf.Tensor) -> Patch:
        """Cut the run's `number`-th patch; each pass over the cases has an order of its own.

        There is no buffer to shuffle in: a patch is read at its places, from whatever case.
        """
        found = self.manifest.of_split(self.split)
        case = self._case(number, len(found))
        files = tf.constant([str(self.folder / entry.file) for entry in found])
        heads = tf.constant([entry.head for entry in found], tf.int64)
        spacings_mm = tf.constant([entry.spacing_mm for entry in found], tf.float32)
        seed = tf.stack([tf.cast(self.seed, tf.int64), number])
        return self._cutter(read_head(files[case], heads[case], spacings_mm[case]), seed)

    def case_of(self, number: int) -> str:
        """Return the name of the case from which the run's `number`-th patch is cut."""
        found = self.manifest.of_split(self.split)
        return found[int(self._case(tf.constant(number, tf.int64), len(found)))].case

    def _case(self, number: tf.Tensor, cases: int) -> tf.Tensor:
        turn, index = number // cases, tf.cast(number % cases, tf.int32)
        seed = tf.cast(self.seed, tf.int64)
        return tf.random.experimental.stateless_shuffle(tf.range(cases), seed=tf.stack([seed, turn]))[index]

    @property
    def _cutter(self) -> PatchCutter:
        augmentation = self.augmentation if self.split == "train" else None
        dtype = index_dtype(self.manifest.label_map.num_classes)
        return PatchCutter(self.options, augmentation, len(self.manifest.channels), dtype.name, self.scales)
