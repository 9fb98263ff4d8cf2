"""How fast patches come from the input pipeline, with and without augmentation, and what each transform costs."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.console.terminal import progress
from kseg.patches.augmentation.chain import TRANSFORMS
from kseg.patches.patch_cutter import PatchCutter
from kseg.patches.patch_source import ENDLESS, PatchSource
from kseg.patches.shards import Head, read_head
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.sections import Patches
from kseg.records.scans import scan_in_memory
from kseg.records.write_case import CaseJob, write_case
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

PATCHES_OF_A_RUN = 48
PATCHES_OF_A_PRICE = 4


def measure_patch_rate(source: PatchSource, repeats: int) -> dict[str, dict[str, float]]:
    """Return patches and MB a second of the source without augmentation (`plain`) and with its own (`augmented`).

    The two take turns; each figure is the median of `repeats` runs after one that is not counted. Nothing but the
    pipeline runs: in a training run it shares the processor with the network.
    """
    sides = {"plain": replace(source, augmentation=Augmentation()), "augmented": source}
    batches = {side: of_side.batches(range(ENDLESS)) for side, of_side in sides.items()}
    count = -(-PATCHES_OF_A_RUN // source.options.batch_size)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    patch_bytes = 0
    for number in progress(range(repeats + 1), "reading"):
        for side, of_side in batches.items():
            iterator = iter(of_side)  # a run of its own: a pipeline left waiting would work in the other's time
            image, labels = next(iterator)
            patch_bytes = sum(part.dtype.size * int(tf.size(part[0])) for part in (image, labels))
            seconds = _seconds(iterator, count)
            if number > 0:
                rates[side].append(count * source.options.batch_size / seconds)
    medians = {side: statistics.median(runs) for side, runs in rates.items()}
    return {
        "patches_per_s": medians,
        "mb_per_s": {side: rate * patch_bytes / 1e6 for side, rate in medians.items()},
    }


def price_transforms(
    patches: Patches, augmentation: Augmentation, channels: int, repeats: int
) -> tuple[float, dict[str, float]]:
    """Return the ms on one core to cut a patch, and for each transform the ms that it adds when it happens.

    A made-up volume of twice the patch's size stands for the dataset. All take turns, and a transform's price is the
    median over the `repeats` turns, after one that is not counted, of what it took longer than cutting alone.
    """
    shape = (*(2 * length for length in patches.size), channels)
    off = dict.fromkeys(TRANSFORMS, 0.0)
    sides = {"cut": off} | {name: off | {name: 1.0} for name in TRANSFORMS}
    times: dict[str, list[float]] = {side: [] for side in sides}
    with TemporaryDirectory() as folder:
        head = _made_up(shape, Path(folder))
        iterators = {
            side: _one_core(head, PatchCutter(patches, augmentation.model_copy(update=changes), channels, "uint8"))
            for side, changes in sides.items()
        }
        for number in progress(range(repeats + 1), "pricing"):
            for side, iterator in iterators.items():
                seconds = _seconds(iterator, PATCHES_OF_A_PRICE)
                if number > 0:
                    times[side].append(1e3 * seconds / PATCHES_OF_A_PRICE)
    prices = {
        name: statistics.median(one - cut for one, cut in zip(times[name], times["cut"], strict=True))
        for name in TRANSFORMS
    }
    return statistics.median(times["cut"]), prices


def _one_core(head: Head, cutter: PatchCutter) -> Iterator[Any]:
    """Cut patches one after another, endlessly, in the way of the pipeline but on one core."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    numbers = tf.data.Dataset.range(ENDLESS)
    return iter(numbers.map(lambda number: cutter(dict(head), tf.stack([0, number]))).with_options(options))


def _made_up(shape: Sequence[int], folder: Path) -> Head:
    """Write a case of noise, `(x, y, z, channels)`, with one class that covers half of it, and return its head."""
    rng = np.random.default_rng(0)
    stored = StoredGeometry((shape[0], shape[1], shape[2]), np.eye(4), ".nii")
    image = Volume(rng.integers(0, 1000, shape).astype(np.int16), np.eye(4), stored)
    scan = scan_in_memory("noise", "noise", "", image, rng.integers(0, 2, shape[:3]).astype(np.uint8))
    shard, _ = write_case(CaseJob(scan, folder, 2, "0" * 64))
    return read_head(tf.constant(str(folder / shard.file)), tf.constant(shard.head, tf.int64), tf.ones([3]))


def _seconds(iterator: Iterator[Any], count: int) -> float:
    began = time.perf_counter()
    for _ in islice(iterator, count):
        pass
    return time.perf_counter() - began
