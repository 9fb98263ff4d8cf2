"""The manifest of a prepared dataset: what its shards hold, checked before anything is trusted."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.validation_errors import first_invalid
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Hash, Spacing, Split, ZeroToBelowOne
from kseg.records.fingerprint import Fingerprint
from kseg.records.plan import Plan, fitted
from kseg.records.schema import VERSION
from kseg.records.split_by_subject import ONE_TO_LEARN_FROM
from kseg.records.tfrecord import PREPARE_AGAIN
from kseg.storage.locations import Location, reaching
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region

MANIFEST = "manifest.json"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Shard(Fingerprint, _Entry):
    """A case in its shard, and what was measured of it.

    The shard lies beside the manifest, so `file` holds no folder; the record of its head begins at byte `head`.
    `origin_hash` is one of what the case was made from (the file's key is "source"), `recipe` one of how. `image_hash`
    is of the image alone; None in earlier manifests.
    `own_spacing_mm` is the scan's, before it was resampled; empty where it was not, and in earlier manifests.
    """

    case: str
    subject: str
    file: Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*\.tfrecord$")]
    head: NonNegativeInt
    bytes: PositiveInt
    sha256: Hash
    origin_hash: Hash = Field(alias="source")
    image_hash: Hash | None = Field(None, alias="image")
    recipe: Hash
    own_spacing_mm: Spacing = ()


class CaseEntry(Shard):
    """A case as the manifest lists it: with what it is for."""

    split: Split

    @property
    def shard(self) -> Shard:
        """The case without what it is for."""
        return Shard(**self.model_dump(exclude={"split"}))


class LeftOut(_Entry):
    """A case that `--skip-bad` left out, and why; `origin_hash` is one of what it was to be made from."""

    case: str
    reason: str
    origin_hash: Hash | None = Field(None, alias="source")
    """None in manifests that were written before there was one."""


class Manifest(_Entry):
    """All of `manifest.json`."""

    schema_version: Literal[3] = VERSION
    kseg_version: str
    source: str
    seed: NonNegativeInt
    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, int]
    """Of the classes."""
    other_labels: dict[str, int] = {}
    """Of classes that label files hold besides, which are background here: `data.classes` leaves them out."""
    ignore: int | None = None
    """Value in label files of voxels that nobody labelled, where there is one."""
    regions: tuple[Region, ...] = ()
    """Structures that are learned instead of the classes, in the order in which they are written; often none."""
    annotation: Annotation = Annotation()
    """Which slices of the label files counted."""
    spacing_mm: Spacing = ()
    """To which the scans were resampled; empty where each kept its own."""
    val_fraction: ZeroToBelowOne | None = None
    test_fraction: ZeroToBelowOne | None = None
    """Shares of the subjects that were drawn to validate and to test, with `seed`.

    None where the source names who does, and in manifests that were written before there were any.
    """
    plan: Plan
    cases: tuple[CaseEntry, ...] = Field(min_length=1)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def label_map(self) -> LabelMap:
        """Names and original values of the classes, background first, the value that is ignored, and the regions."""
        return LabelMap(tuple(self.labels), tuple(self.labels.values()), self.ignore, self.regions)

    @property
    def labels_of_files(self) -> LabelMap:
        """The same with the classes that were left out."""
        return self.label_map.with_classes(self.other_labels)

    @property
    def partly_labelled(self) -> bool:
        """Whether a case has voxels that nobody labelled: their index is that behind the last class's."""
        return any(case.partly_labelled for case in self.cases)

    def of_split(self, split: str) -> list[CaseEntry]:
        """Return the cases of a split, in order."""
        return [case for case in self.cases if case.split == split]

    @property
    def to_learn_from(self) -> list[CaseEntry]:
        """The cases that are not to test, in order."""
        return [case for case in self.cases if case.split != "test"]

    def plan_for(self, recipe: Recipe) -> Plan:
        """Return the plan with patches for a recipe's network and memory."""
        return fitted(self.plan, self.to_learn_from, recipe)

    def with_validation(self, subjects: Collection[str]) -> "Manifest":
        """Return the manifest with `subjects` to validate on and all others, but the test's, to train on."""

        def moved(case: CaseEntry) -> CaseEntry:
            split = "val" if case.subject in subjects else "train"
            return case if case.split == "test" else case.model_copy(update={"split": split})

        return self.model_copy(update={"cases": tuple(moved(case) for case in self.cases)})


def manifest_text(manifest: Manifest) -> str:
    """Return the manifest as JSON with a line for each case: what changed shows in a diff."""
    table = manifest.model_dump(mode="json", by_alias=True)
    lines = []
    for key, value in table.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join(f"    {json.dumps(entry)}" for entry in value)
            lines.append(f'  "{key}": [\n{entries}\n  ]')
        else:
            lines.append(f'  "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def is_prepared(folder: Location) -> bool:
    """Whether a folder has a manifest, be it a sound one or not.

    Raises:
        InputError: the folder's store cannot be reached.
    """
    with reaching(folder):
        return (folder / MANIFEST).exists()


def load_manifest(folder: Location) -> Manifest:
    """Read `manifest.json` of a prepared dataset and check that the shards are there, at their recorded sizes.

    Raises:
        InputError: no manifest, one that is not understood or contradicts itself, a shard that is missing or has
            another size, or a store that cannot be reached.
    """
    with reaching(folder):
        manifest = _parsed(folder)
        for case in manifest.cases:
            _check_size(folder / case.file, case)
        return manifest


def check_splits(manifest: Manifest, folder: Location) -> None:
    """A training needs cases to train on, and others to validate on.

    Raises:
        InputError: the dataset in `folder` has none of a kind.
    """
    if len({case.subject for case in manifest.to_learn_from}) == 1:
        raise InputError(f"'{folder}' has {ONE_TO_LEARN_FROM}")
    if not manifest.of_split("train"):
        raise InputError(f"'{folder}' has no train cases: prepare it with other splits")
    if not manifest.of_split("val"):
        raise InputError(
            f"'{folder}' has no val cases: prepare it with data.val_fraction above 0, or train on folds with --folds"
        )


def _parsed(folder: Location) -> Manifest:
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        labels = manifest.label_map
        manifest.annotation.label_map_of_files(manifest.labels_of_files)  # checks that they fit together
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"'{folder}' holds no prepared dataset (no {MANIFEST}): run {command_line('prepare')}, or set data.records"
        ) from None
    except ValidationError as error:
        raise InputError(f"'{path}' is not a manifest of this kseg ({first_invalid(error)}): {PREPARE_AGAIN}") from None
    except InputError as error:
        raise InputError(f"'{path}' is not a manifest of this kseg ({error}): {PREPARE_AGAIN}") from None
    for name, count in Counter(case.file.casefold() for case in manifest.cases).items():
        if count > 1:
            raise InputError(f"'{path}' lists the shard '{name}' for {count} cases: {PREPARE_AGAIN}")
    for case in manifest.cases:
        if any(rows and len(rows) != len(manifest.channels) for rows in (case.inside, case.outside, case.everywhere)):
            raise InputError(
                f"'{path}': case '{case.case}' has other channels than the dataset ({', '.join(manifest.channels)}): "
                f"{PREPARE_AGAIN} with --force, which says what to fix"
            )
        if len(case.class_voxels) != labels.num_classes:
            raise InputError(
                f"'{path}': case '{case.case}' does not count {labels.num_classes} classes: {PREPARE_AGAIN}"
            )
    return manifest


def _check_size(path: Location, entry: CaseEntry) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"shard '{path}' is missing: {PREPARE_AGAIN}") from None
    if size != entry.bytes:
        raise InputError(f"shard '{path}' has {size} bytes, its manifest says {entry.bytes}: {PREPARE_AGAIN}")
