"""What a volume must have to be segmented by a run's model, and what comes out: `data.json` in the run's folder."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kseg.console.text import counted
from kseg.recipe.types import Hash, Spacing
from kseg.runs.seen_scans import SeenScans
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.intensity_normalisation import Scale
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kseg.records.manifest import CaseEntry, Manifest


class LearnedFrom(BaseModel):
    """Subjects whose scans a run learned from: `train` to fit its weights, `val` to choose its best model.

    `cases` holds a hash of what each of their cases was made from, `images` those of their images alone; runs and
    datasets of earlier versions have neither, or not of all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    cases: dict[str, Hash] = {}
    images: tuple[Hash, ...] = ()

    def joined(self, before: "LearnedFrom") -> "LearnedFrom":
        """Return this with what was learned from before; of cases of one name both stay."""
        cases = dict(before.cases)
        for case, scan in self.cases.items():
            name = case
            while cases.get(name, scan) != scan:
                name += "'"
            cases[name] = scan
        return LearnedFrom(
            train=tuple(sorted({*self.train, *before.train})),
            val=tuple(sorted({*self.val, *before.val})),
            cases=cases,
            images=tuple(sorted({*self.images, *before.images})),
        )

    def agrees(self, other: "LearnedFrom") -> bool:
        """Whether both learned from the same scans, of which one may know less."""
        ours, theirs = (one.model_copy(update={"images": ()}) for one in (self, other))
        return ours == theirs

    def same_scans(self, cases: "Sequence[CaseEntry]", split: str) -> set[str]:
        """Return subjects of whose scans some were learned from; in "val" those that only validated may do so again.

        A scan is the same where its labels were corrected since. Of runs that start from each other, one may have
        trained on whom another validated on.
        """
        known = {*self.cases.values(), *self.images}
        fair = {*self.val} - {*self.train} if split == "val" else set[str]()
        return {case.subject for case in cases if known & {case.origin_hash, case.image_hash}} - fair

    def same_names(self, cases: "Sequence[CaseEntry]", split: str) -> set[str]:
        """Return subjects who have the name of one that was learned from, who may be another person."""
        return {case.subject for case in cases} & {*self.train, *(self.val if split == "test" else ())}

    @classmethod
    def of_split(cls, manifest: "Manifest") -> "LearnedFrom":
        """Return what a run learns from that is trained and validated on a dataset's split."""
        train, val = (tuple(sorted({case.subject for case in manifest.of_split(split)})) for split in ("train", "val"))
        cases = [*manifest.of_split("train"), *manifest.of_split("val")]
        return cls(
            train=train,
            val=val,
            cases={case.case: case.origin_hash for case in cases},
            images=tuple(sorted({case.image_hash for case in cases if case.image_hash})),
        )


class DataDescription(BaseModel):
    """`data.json`: what a volume must have to be segmented by this run's model, and what comes out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, int]
    other_labels: dict[str, int] = {}
    """Of classes that label files hold besides, which were background in training: `data.classes` left them out."""
    ignore: int | None = None
    """Value in the label files of voxels that nobody labelled, where there was one."""
    regions: tuple[Region, ...] = ()
    """Structures that were learned instead of the classes, in the order in which they are written; often none."""
    annotation: Annotation = Annotation()
    """Which slices of the label files counted."""
    scales: tuple[Scale, ...] = ()
    """How each channel is normalised; empty for `"zscore"` throughout."""
    spacing_mm: Spacing = ()
    """To which a volume is resampled first; empty where it keeps its own."""
    val_subjects: tuple[str, ...] = ()
    """Subjects on whom a fold validated, instead of the dataset's own; empty where the run is no fold."""
    learned_from: LearnedFrom = LearnedFrom()
    """Empty where a run of an earlier version does not say whose scans it learned from."""
    learned_before: LearnedFrom = LearnedFrom()
    """Whose scans the run knows by the one that it started from; empty where it started from none."""
    seen: SeenScans | None = None
    """What the scans were like; None where a run of an earlier version does not say."""

    @model_validator(mode="after")
    def _fits_together(self) -> "DataDescription":
        """What there is one of for each channel, there are as many of; label values are those of one label map."""
        channels = len(self.channels)
        if self.scales and len(self.scales) != channels:
            raise ValueError(f"scales: {counted(len(self.scales), 'scale')} for {counted(channels, 'channel')}")
        if self.seen and len(self.seen.intensities) != channels:
            seen = counted(len(self.seen.intensities), "list")
            raise ValueError(f"seen.intensities: {seen} for {counted(channels, 'channel')}")
        self.annotation.label_map_of_files(self.labels_of_files)
        return self

    @property
    def label_map(self) -> LabelMap:
        """Names and original values of the classes, background first, and the regions."""
        return LabelMap(tuple(self.labels), tuple(self.labels.values()), regions=self.regions)

    @property
    def labels_of_files(self) -> LabelMap:
        """The same with the value of voxels that nobody labelled and the classes that were left out."""
        return replace(self.label_map, ignore=self.ignore).with_classes(self.other_labels)

    @property
    def of_scans(self) -> "DataDescription":
        """The same without whose scans the run learned from, what these were like, and what else their files hold."""
        return self.model_copy(
            update={
                "other_labels": {},
                "val_subjects": (),
                "learned_from": LearnedFrom(),
                "learned_before": LearnedFrom(),
                "seen": None,
            }
        )

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """Subjects who chose the run's best model, as far as it says."""
        return self.learned_from.val or self.val_subjects

    def difference(self, manifest: "Manifest") -> str:
        """Say in what a prepared dataset's channels, labels, regions or spacing are not the run's, or nothing."""
        theirs, ours = (
            {
                "channels": ", ".join(one.channels),
                "labels": ", ".join(f"{value} {name}" for name, value in one.label_map.to_json().items()),
                "regions": ", ".join(map(str, one.regions)),
                "data.spacing_mm": str(list(one.spacing_mm)),
            }
            for one in (manifest, self)
        )
        differing = (f"{key} '{theirs[key]}' instead of '{ours[key]}'" for key in ours if theirs[key] != ours[key])
        return next(differing, "")

    def changes(self, manifest: "Manifest") -> list[str]:
        """Return in what the scans that a run would learn from now are not those that it learned from, in phrases."""
        changes, was = self.split_changes(manifest), self.learned_from.cases
        if changes or not was:
            return changes
        learned = {*self.learned_from.train, *self.learned_from.val}
        now = {case.case: case.origin_hash for case in manifest.cases if case.subject in learned}
        return [
            f"case '{case}' is {'new' if case not in was else 'gone' if case not in now else 'another now'}"
            for case in sorted(was.keys() | now.keys())
            if was.get(case) != now.get(case)
        ]

    def split_changes(self, manifest: "Manifest") -> list[str]:
        """Return in what a dataset's split is not the run's, a phrase for each subject; none where nobody knows.

        Subjects to test on count only where the run learned from them. A fold shares out the others by itself.
        """
        if not self.learned_from.train:
            return []
        if self.val_subjects:
            manifest = manifest.with_validation(self.val_subjects)
        was = dict.fromkeys(self.learned_from.train, "train") | dict.fromkeys(self.learned_from.val, "val")
        now = {case.subject: case.split for case in manifest.cases if case.split != "test" or case.subject in was}
        return [
            f"subject '{subject}' was {was.get(subject, 'not there, or test')}, is {now.get(subject, 'gone')}"
            for subject in sorted(was.keys() | now.keys())
            if was.get(subject) != now.get(subject)
        ]
