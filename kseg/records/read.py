"""Reading shards record by record, and finding the one that is damaged."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from kseg.console.errors import InputError
from kseg.records.manifest import Manifest, Shard, sha256_of
from kseg.records.schema import Record, decode


def read_records(folder: Path, manifest: Manifest, split: str) -> Iterator[Record]:
    """Yield the records of a split in the order of the manifest.

    Raises:
        InputError: a shard is damaged or holds something else; the message names it.
    """
    for shard, places in groupby(manifest.places_of(split), key=lambda place: place.shard):
        wanted = {place.before for place in places}
        for number, record in enumerate(_read_shard(folder / shard.file, shard, manifest.label_map.num_classes)):
            if number in wanted:
                yield record


def check_shards(folder: Path, manifest: Manifest) -> None:
    """Compare every shard with its checksum, and read every record of it.

    Raises:
        InputError: names the first shard that differs from what was prepared.
    """
    for shard in manifest.shards:
        path = folder / shard.file
        if sha256_of(path) != shard.sha256:
            raise InputError(f"shard '{path}' is damaged (its checksum differs): prepare the dataset again")
        for _ in _read_shard(path, shard, manifest.label_map.num_classes):
            pass


def _read_shard(path: Path, shard: Shard, num_classes: int) -> Iterator[Record]:
    import tensorflow as tf

    count = 0
    try:
        for serialized in tf.data.TFRecordDataset(str(path)):
            yield decode(serialized.numpy(), num_classes, f"shard '{path}'")
            count += 1
    except tf.errors.DataLossError:
        raise InputError(f"shard '{path}' is damaged at record {count}: prepare the dataset again") from None
    if count != shard.records:
        raise InputError(f"shard '{path}' holds {count} records, its manifest says {shard.records}: prepare again")
