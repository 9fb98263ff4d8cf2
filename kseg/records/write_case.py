"""Writing one case: the function that every worker, on whatever machine, runs for each case."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ValidationError

from kseg.console.errors import InputError
from kseg.recipe.types import Spacing
from kseg.records.bricks import Bricks
from kseg.records.destinations import FINISHED, copy_file, own_file
from kseg.records.fingerprint import foreground_pieces, take_fingerprint
from kseg.records.ground_truth import encode_truth
from kseg.records.manifest import Shard
from kseg.records.packed_labels import PackedLabels, pack_labels
from kseg.records.scans import Scan
from kseg.records.schema import NO_TRUTH, Head, encode_brick, encode_head
from kseg.records.tfrecord import RecordWriter
from kseg.storage.locations import Location, reaching
from kseg.storage.read_ahead import read_ahead
from kseg.volumes.annotated_slices import sliced_axes, sliced_note
from kseg.volumes.intensity_normalisation import CaseIntensities
from kseg.volumes.labels import UnknownLabelValues
from kseg.volumes.volume_stream import VolumeStream


@dataclass(frozen=True)
class CaseJob:
    """A case to be written: `folder` is where to; `recipe` a hash of all that decides how, beside the scan itself."""

    scan: Scan
    folder: Location
    num_classes: int
    recipe: str

    @property
    def finished_file(self) -> Location:
        """What says that the case is finished."""
        return self.folder / FINISHED / f"{self.scan.case}.json"

    @property
    def outcome(self) -> Location:
        """Where a worker without a way back to its caller leaves what became of the case."""
        return self.folder / FINISHED / f"{self.scan.case}.outcome"


class Outcome(BaseModel):
    """What became of a case: its shard, or the reason why there is none; `again` if it was finished before.

    `notes` are sentences on what its files leave open; `origin_hash` is, where there is no shard, that of the scan, and
    `unknown_values` are those of its label map that no class has.
    """

    case: str
    shard: Shard | None = None
    reason: str = ""
    again: bool = False
    notes: tuple[str, ...] = ()
    origin_hash: str = ""
    unknown_values: tuple[float, ...] = ()


def check_case(job: CaseJob) -> Outcome | None:
    """Return what is wrong with a case, as far as headers show it; nothing of its volumes is read."""
    try:
        if job.scan.check is not None:
            job.scan.check()
    except InputError as error:
        return _bad(job, error)
    return None


def prepare_case(job: CaseJob) -> Outcome:
    """Write the shard of a case, unless it is there already, made from the same files in the same way.

    A shard appears under its name once it is whole, and only then the note that says so: whoever is killed, at
    whatever moment, leaves nothing that is taken for finished. A bad scan is told, not raised.

    Raises:
        InputError: the job's folder cannot be reached, which is no fault of the scan.
    """
    with reaching(job.folder):
        try:
            if shard := _finished(job):
                return Outcome(case=job.scan.case, shard=shard, again=True)
            job.finished_file.unlink(missing_ok=True)
            shard, notes = write_case(job)
        except InputError as error:
            return _bad(job, error)
        _note_finished(job, shard)
        return Outcome(case=job.scan.case, shard=shard, notes=notes)


def take_over(job: CaseJob, shard: Shard, dataset: Location) -> Outcome:
    """Take the shard of a case from the dataset of before, where it stays, and return it as finished."""
    with reaching(job.folder):
        job.finished_file.unlink(missing_ok=True)
        copy_file(dataset / shard.file, job.folder / shard.file)
        _note_finished(job, shard)
    return Outcome(case=job.scan.case, shard=shard)


def _bad(job: CaseJob, error: InputError) -> Outcome:
    values = error.values if isinstance(error, UnknownLabelValues) else ()
    return Outcome(
        case=job.scan.case, reason=str(error), origin_hash=job.scan.hashes().origin, unknown_values=tuple(values)
    )


def _note_finished(job: CaseJob, shard: Shard) -> None:
    with own_file(job.finished_file) as path:
        path.write_text(shard.model_dump_json(by_alias=True), encoding="utf-8")


def write_case(job: CaseJob) -> tuple[Shard, tuple[str, ...]]:
    """Write the shard of a case and return it, with sentences on what its files leave open.

    Memory is that of a slab of the image, one brick thick, and of the packed labels.

    Two cores are kept busy: the sources are hashed while the labels are packed, the pieces of the foreground told apart
    while the image is read, and one brick is cut, measured and encoded while another is hashed and written.

    Raises:
        InputError: the scan is bad.
    """
    scan = job.scan
    target = job.folder / f"{scan.case}.tfrecord"
    with ThreadPoolExecutor(2) as threads:
        hashes = threads.submit(scan.hashes)
        image, indices = scan.open()
        bricks = Bricks.of(image.shape)
        labels = pack_labels(indices, bricks, job.num_classes)
        if not labels.labelled.any():
            raise InputError(
                f"case '{scan.case}' has no voxel that somebody labelled: label some slices of it, or leave it out; if "
                "there are some, data.spacing_mm is too coarse for them"
            )
        pieces = threads.submit(foreground_pieces, labels)
        intensities = CaseIntensities(image.dtype, image.channels, int(np.prod(image.shape)))
        places = np.zeros(bricks.count, np.int64)
        with own_file(target) as path, RecordWriter(path) as writer:
            for number, record in read_ahead(_records(scan.case, image, bricks, labels, intensities)):
                places[number] = writer.write(record)
            truth, own_spacing_mm = _write_truth(writer, scan, job.num_classes)
            head = Head(
                scan.case,
                scan.subject,
                bricks,
                image.channels,
                image.dtype,
                image.affine,
                image.stored,
                places,
                labels.counts[1:],
                labels.labelled if labels.partly_labelled else np.zeros(0, np.int64),
                intensities.statistics(),
                truth,
            )
            place = writer.write(encode_head(head))
        shard = Shard(
            case=scan.case,
            subject=scan.subject,
            file=target.name,
            head=place,
            bytes=writer.size,
            sha256=writer.sha256,
            origin_hash=hashes.result().origin,
            image_hash=hashes.result().image,
            recipe=job.recipe,
            own_spacing_mm=own_spacing_mm,
            **dict(take_fingerprint(image.shape, image.spacing_mm, labels, intensities, pieces.result())),
        )
    sliced = () if labels.partly_labelled else sliced_axes(labels.planes)
    return shard, tuple(dict.fromkeys((*image.notes, *indices.notes, *map(sliced_note, sliced[:1]))))


def _records(
    case: str, image: VolumeStream, bricks: Bricks, labels: PackedLabels, intensities: CaseIntensities
) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the record of each brick, its voxels added to the `intensities`."""
    for first, slab in read_ahead(image.read(bricks.size[image.axis])):
        for number, block in bricks.cut(image.axis, first, slab):
            whole, known = bricks.filled_up(block), labels.brick(number)
            corner = [part.start for part in bricks.box(number)]
            intensities.add(bricks.within(number, whole), corner, None if known is None else labels.sides(known))
            yield number, encode_brick(case, number, whole, labels.packed[number])


def _write_truth(writer: RecordWriter, scan: Scan, num_classes: int) -> tuple[int, Spacing]:
    """Write the labels on the scan's own grid, where the case is on another; return their place, and that spacing."""
    if scan.truth is None:
        return NO_TRUTH, ()
    labels = scan.truth()
    place = writer.write(encode_truth(scan.case, pack_labels(labels, Bricks.of(labels.shape), num_classes)))
    return place, labels.spacing_mm


def _finished(job: CaseJob) -> Shard | None:
    try:
        shard = Shard.model_validate_json(job.finished_file.read_bytes())
        whole = (job.folder / shard.file).stat().st_size == shard.bytes
    except (OSError, ValidationError):
        return None
    same = (shard.case, shard.subject, shard.recipe) == (job.scan.case, job.scan.subject, job.recipe)
    if not (whole and same):
        return None
    hashes = job.scan.hashes()
    return shard.model_copy(update={"image_hash": hashes.image}) if shard.origin_hash == hashes.origin else None
