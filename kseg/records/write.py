"""Writing a prepared dataset: shards and manifest under a temporary name, moved into place when whole."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from kseg import __version__
from kseg.console.command import say
from kseg.console.errors import InputError
from kseg.console.files import whole_folder
from kseg.console.progress import progress
from kseg.recipe.sections import Recipe
from kseg.records.fingerprint import take_fingerprint
from kseg.records.intensity import intensity_statistics
from kseg.records.manifest import MANIFEST, CaseEntry, LeftOut, Manifest, Shard, manifest_text, sha256_of
from kseg.records.plan import make_plan
from kseg.records.scans import Scan, ScanList
from kseg.records.schema import Record, encode
from kseg.records.splits import SPLITS, Split, split_by_subject


def write_dataset(recipe: Recipe, found: ScanList, skip_bad: bool = False) -> Manifest:
    """Load every scan, write the shards of each split and the manifest, and move them to `data.records`.

    Args:
        recipe: says where to, in how many shards, and how subjects are split.
        found: the scans.
        skip_bad: leave bad scans out and list them in the manifest, instead of raising.

    Raises:
        InputError: a bad scan, named; no scan is left to train on; or `data.records` is a folder of something
            else, which must not be replaced. Nothing is written then.
    """
    data = recipe.data
    _check_replaceable(recipe.records_folder)
    splits = split_by_subject(found.scans, data.val_fraction, data.test_fraction, recipe.seed)
    by_split = {split: [scan for scan in found.scans if splits[scan.subject] == split] for split in SPLITS}
    scans = progress([scan for split in SPLITS for scan in by_split[split]], "preparing")
    shards: list[Shard] = []
    cases: list[CaseEntry] = []
    left_out: list[LeftOut] = []
    with whole_folder(recipe.records_folder) as folder:
        for split, of_split in by_split.items():
            written = []
            for number, size in enumerate(_shard_sizes(len(of_split), data.shards)):
                path = folder / f"{split}-{number}"
                records = _load(islice(scans, size), left_out if skip_bad else None)
                if entries := _write_shard(path, records, split, found.labels.num_classes):
                    written.append((path, entries))
            shards += _name_shards(written, split)
            cases += [entry for _, entries in written for entry in entries]
        next(scans, None)  # there is none, but the bar moves only when asked for more
        if not any(case.split == "train" for case in cases):
            raise InputError(f"no scan of '{data.source}' is left to train on: mend those that were left out")
        manifest = Manifest(
            kseg_version=__version__,
            source=data.source,
            seed=recipe.seed,
            channels=found.channels,
            labels=found.labels.to_json(),
            plan=make_plan(
                [case for case in cases if case.split != "test"], found.channels, found.labels.names, data.memory_gb
            ),
            shards=tuple(shards),
            cases=tuple(cases),
            left_out=tuple(left_out),
        )
        (folder / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")
    return manifest


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise InputError(f"'{folder}' holds something else than a prepared dataset: empty it, or set data.records")


def _shard_sizes(count: int, most: int) -> list[int]:
    """Spread `count` scans evenly over `most` shards or fewer, none of them empty."""
    shards = min(count, most)
    return [count // shards + (number < count % shards) for number in range(shards)]


def _load(scans: Iterable[Scan], left_out: list[LeftOut] | None) -> Iterator[Record]:
    for scan in scans:
        try:
            image, labels = scan.load()
        except InputError as error:
            if left_out is None:
                raise
            say(f"left out: {error}")
            left_out.append(LeftOut(case=scan.case, reason=str(error)))
        else:
            yield Record(scan.case, scan.subject, image, labels, intensity_statistics(image.array))


def _write_shard(path: Path, records: Iterable[Record], split: Split, num_classes: int) -> list[CaseEntry]:
    import tensorflow as tf

    entries = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(encode(record, num_classes))
            entries.append(
                CaseEntry(
                    case=record.case,
                    subject=record.subject,
                    split=split,
                    **dict(take_fingerprint(record.image, record.labels, record.class_voxels(num_classes))),
                )
            )
    if not entries:
        path.unlink()
    return entries


def _name_shards(written: list[tuple[Path, list[CaseEntry]]], split: Split) -> list[Shard]:
    """Give the shards of a split their final names, now that their number is known."""
    shards = []
    for number, (path, entries) in enumerate(written):
        final = path.rename(path.with_name(f"{split}-{number:05d}-of-{len(written):05d}.tfrecord"))
        size, checksum = final.stat().st_size, sha256_of(final)
        shards.append(Shard(file=final.name, split=split, records=len(entries), bytes=size, sha256=checksum))
    return shards
