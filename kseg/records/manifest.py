"""The manifest of a prepared dataset: what its shards hold, checked before anything is trusted."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from kseg.console.errors import InputError
from kseg.records.fingerprint import Fingerprint
from kseg.records.plan import Plan
from kseg.records.splits import SPLITS, Split
from kseg.volumes.labels import LabelMap

MANIFEST = "manifest.json"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Named(_Entry):
    case: str
    subject: str
    split: Split


class CaseEntry(Fingerprint, _Named):
    """A case in a shard: whose it is, what it is for, and what was measured of it."""


class Shard(_Entry):
    """A shard: its file lies beside the manifest, so its name holds no folder."""

    file: Annotated[str, Field(pattern=r"^(train|val|test)-\d{5}-of-\d{5}\.tfrecord$")]
    split: Split
    records: PositiveInt
    bytes: PositiveInt
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LeftOut(_Entry):
    """A case that `--skip-bad` left out, and why."""

    case: str
    reason: str


class Place(NamedTuple):
    """Where a case is: the shard, and how many records stand before it there."""

    shard: Shard
    before: int
    case: CaseEntry


class Manifest(_Entry):
    """All of `manifest.json`; the cases stand in the order of the shards' records."""

    schema_version: Literal[2] = 2
    kseg_version: str
    source: str
    seed: NonNegativeInt
    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, int]
    plan: Plan
    shards: tuple[Shard, ...] = Field(min_length=1)
    cases: tuple[CaseEntry, ...] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def label_map(self) -> LabelMap:
        """Names and original values of the classes, background first."""
        return LabelMap(tuple(self.labels), tuple(self.labels.values()))

    def of_split(self, split: str) -> list[CaseEntry]:
        """Return the cases of a split, in the order of the shards."""
        return [case for case in self.cases if case.split == split]

    def shards_of(self, split: str) -> list[Shard]:
        """Return the shards of a split, in order."""
        return [shard for shard in self.shards if shard.split == split]

    def places_of(self, split: str) -> list[Place]:
        """Return where the cases of a split are, in the order of the shards."""
        places = [(shard, before) for shard in self.shards for before in range(shard.records)]
        return [Place(*place, case) for place, case in zip(places, self.cases, strict=True) if case.split == split]

    def with_validation(self, subjects: Collection[str]) -> "Manifest":
        """Return the manifest with `subjects` to validate on and all others, but the test's, to train on."""

        def moved(case: CaseEntry) -> CaseEntry:
            split = "val" if case.subject in subjects else "train"
            return case if case.split == "test" else case.model_copy(update={"split": split})

        return self.model_copy(update={"cases": tuple(moved(case) for case in self.cases)})


def manifest_text(manifest: Manifest) -> str:
    """Return the manifest as JSON with a line for each shard and case: what changed shows in a diff."""
    table = manifest.model_dump(mode="json")
    lines = []
    for key, value in table.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join(f"    {json.dumps(entry)}" for entry in value)
            lines.append(f'  "{key}": [\n{entries}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def load_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of a prepared dataset and check that the shards are there, at their recorded sizes.

    Raises:
        InputError: no manifest, one that is not understood or contradicts itself, or a shard that is missing or has
            another size.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        labels = manifest.label_map
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"'{folder}' holds no prepared dataset (no {MANIFEST}): run python -m kseg.prepare, or set data.records"
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"'{path}' is not a manifest of this kseg ({key}: {problem['msg']}): prepare again") from None
    for shard in manifest.shards:
        _check_size(folder / shard.file, shard)
    for split in SPLITS:
        records, cases = sum(shard.records for shard in manifest.shards_of(split)), len(manifest.of_split(split))
        if records != cases:
            raise InputError(f"'{path}' lists {cases} {split} cases, its shards hold {records}: prepare again")
    for split in SPLITS:
        for place in manifest.places_of(split):
            if place.shard.split != split:
                raise InputError(f"'{path}' lists case '{place.case.case}' out of the shards' order: prepare again")
    for case in manifest.cases:
        if len(case.class_voxels) != labels.num_classes:
            raise InputError(f"'{path}': case '{case.case}' does not count {labels.num_classes} classes: prepare again")
    return manifest


def _check_size(path: Path, shard: Shard) -> None:
    if not path.is_file():
        raise InputError(f"shard '{path}' is missing: prepare the dataset again")
    size = path.stat().st_size
    if size != shard.bytes:
        raise InputError(f"shard '{path}' has {size} bytes, its manifest says {shard.bytes}: prepare the dataset again")
