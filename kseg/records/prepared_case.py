"""Reading shards case by case, and finding the one that is damaged."""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import first_line
from kseg.recipe.types import SPLITS
from kseg.records.ground_truth import decode_truth
from kseg.records.manifest import CaseEntry, Manifest
from kseg.records.packed_labels import BACKGROUND, class_indices
from kseg.records.schema import NO_TRUTH, decode_brick, decode_head
from kseg.records.tfrecord import PREPARE_AGAIN, RecordReader
from kseg.storage.files import sha256_of
from kseg.storage.locations import Location, reaching
from kseg.volumes.labels import index_dtype
from kseg.volumes.volume import Volume


@dataclass(frozen=True)
class PreparedCase:
    """A case, whole, as scoring uses it.

    `image.array` is `(x, y, z, channels)`, of a dtype that `read_volume` names; `labels` `(x, y, z)` class indices,
    uint8 or uint16, that behind the last class's where nobody labelled a voxel; `statistics` `(channels, 4)` from
    `intensity_statistics`; `truth` the labels on the scan's own grid, which is another where the case was resampled.
    """

    case: str
    subject: str
    image: Volume
    labels: np.ndarray
    statistics: np.ndarray
    truth: Volume


def read_cases(folder: Location, manifest: Manifest, split: str) -> Iterator[PreparedCase]:
    """Yield the cases of a split in the order of the manifest.

    Raises:
        InputError: a shard is damaged or holds something else; the message names it.
    """
    for case in manifest.of_split(split):
        yield read_case(folder / case.file, case, manifest.label_map.num_classes)


def read_case(path: Location, entry: CaseEntry, num_classes: int) -> PreparedCase:
    """Read the case of a shard.

    Raises:
        InputError: the shard is damaged, or is not what `entry` says.
    """
    with reaching(path), RecordReader(path) as reader:
        try:
            return _assemble(reader, entry, num_classes)
        except InputError:
            raise
        except (ValueError, zlib.error, MemoryError) as error:
            said = first_line(error)
            raise InputError(f"shard '{path}' holds what kseg cannot read ({said}): {PREPARE_AGAIN}") from None


def _assemble(reader: RecordReader, entry: CaseEntry, num_classes: int) -> PreparedCase:
    head = decode_head(reader.read(entry.head), num_classes)
    bricks = head.bricks
    if (head.case, head.subject, bricks.shape) != (entry.case, entry.subject, entry.shape):
        raise ValueError(f"it holds case '{head.case}' of shape {bricks.shape}")
    if head.partly_labelled != entry.partly_labelled:
        raise ValueError(f"case '{head.case}' is partly labelled in its shard or in the manifest alone")
    image = np.empty((*bricks.shape, head.channels), head.image_dtype)
    labels = np.zeros(bricks.shape, index_dtype(num_classes))
    for number, place in enumerate(head.places.tolist()):
        box = bricks.box(number)
        voxels, packed = decode_brick(reader.read(place), head, number)
        image[box] = bricks.within(number, voxels)
        counts = np.zeros(num_classes + 1, np.int64)
        counts[0] = labels[box].size
        if packed != BACKGROUND:
            labels[box] = block = class_indices(packed, bricks, number, num_classes, head.partly_labelled)
            counts = np.bincount(block.reshape(-1), minlength=num_classes + 1)
        right = (head.foreground[:, number] == counts[1:num_classes]).all()
        if not right or (head.partly_labelled and head.labelled[number] != counts[:num_classes].sum()):
            raise ValueError(f"the labels of brick {number} were counted otherwise")
    truth = Volume(labels, head.affine, head.stored)
    if head.truth != NO_TRUTH:
        truth = decode_truth(reader.read(head.truth), head, num_classes)
    return PreparedCase(
        head.case, head.subject, Volume(image, head.affine, head.stored), labels, head.statistics, truth
    )


def damaged_shard(shard: Location) -> InputError:
    """Return the error about a shard whose checksum is not the manifest's."""
    return InputError(f"shard '{shard}' is damaged (its checksum differs): {PREPARE_AGAIN}")


def check_shards(folder: Location, manifest: Manifest, splits: Collection[str] = SPLITS) -> None:
    """Compare every shard of some splits with its checksum, and read all that is in it.

    Raises:
        InputError: names the first shard that differs from what was prepared.
    """
    for case in (case for case in manifest.cases if case.split in splits):
        path = folder / case.file
        with reaching(path):
            if sha256_of(path) != case.sha256:
                raise damaged_shard(path)
        read_case(path, case, manifest.label_map.num_classes)
