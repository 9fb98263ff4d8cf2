"""What has changed since a dataset was prepared: at its source, which it can follow, or in how it is prepared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from kseg.console.terminal import progress
from kseg.console.text import counted, some_of
from kseg.recipe.sections import Recipe
from kseg.records.manifest import CaseEntry, Manifest
from kseg.records.scans import PHANTOM, Scan, ScanList
from kseg.records.split_by_subject import split_by_subject
from kseg.records.write import Earlier, case_jobs, plan_of, splits_of
from kseg.storage.locations import local

MAX_NAMED = 8

Kind = Literal["added", "changed", "removed", "moved"]
"""Of a change: of a case whose files, or whose subject, are others; or that is in a split that the source names now."""


@dataclass(frozen=True)
class CaseChange:
    """What has become of a case at the source, in a phrase too; `subjects` are those whose data are others by it."""

    case: str
    kind: Kind
    phrase: str
    subjects: tuple[str, ...] = ()
    split: str = ""
    """To which a case has moved."""

    @property
    def told(self) -> str:
        """The case, and where it has moved to."""
        return f"{self.case} to {self.split}" if self.split else self.case


@dataclass(frozen=True)
class SourceChanges:
    """What has changed since a dataset was prepared.

    `cases` are the source's changes, which the dataset follows when it is prepared again; `earlier` is what it then
    takes over. `otherwise` says, a phrase each, in what the recipe, or kseg, would prepare another dataset.
    """

    cases: tuple[CaseChange, ...]
    otherwise: tuple[str, ...]
    earlier: Earlier

    @property
    def phrases(self) -> list[str]:
        """All changes, sorted."""
        return sorted({*self.otherwise, *(change.phrase for change in self.cases)})

    @property
    def subjects(self) -> set[str]:
        """Subjects whose data have changed."""
        return {subject for change in self.cases for subject in change.subjects}

    def summary(self, manifest: Manifest) -> str:
        """Say how the source was followed, by the new manifest: "2 cases added (a, b), 5 kept, 1 left out"."""
        parts, there = [], {case.case for case in manifest.cases}
        followed = [change for change in self.cases if change.kind == "removed" or change.case in there]
        for kind in get_args(Kind):
            if named := [change.told for change in followed if change.kind == kind]:
                parts.append(f"{counted(len(named), 'case')} {kind} ({some_of(named, MAX_NAMED)})")
        moved = sum(change.kind == "moved" for change in self.cases)
        parts.append(f"{len(self.earlier.shards) - moved} kept")
        return ", ".join([*parts, *([f"{len(manifest.left_out)} left out"] if manifest.left_out else [])])


def find_changes(recipe: Recipe, found: ScanList, manifest: Manifest) -> SourceChanges:
    """Compare a prepared dataset with its source and its recipe; every source is read, to hash it."""
    settled = _settled(found, manifest)
    now = splits_of(recipe, found, settled)
    prepared = {case.case: case for case in manifest.cases}
    left_out = {out.case: out.origin_hash for out in manifest.left_out}
    changes = list(_gone(found, manifest))
    shards, otherwise = {}, set(_prepared_otherwise(recipe, found, manifest))
    for job in progress(case_jobs(recipe, found, recipe.records_folder, settled), "comparing"):
        scan = job.scan
        if (before := prepared.get(scan.case)) is None:
            appeared = _appeared(scan, left_out)
            changes += [appeared] if appeared else []
            continue
        hashes = scan.hashes()
        change = _compared(scan, hashes.origin, before, now[scan.subject])
        changes += [change] if change else []
        if change is None or change.kind == "moved":
            shards[scan.case] = before.shard.model_copy(update={"image_hash": hashes.image})
            if before.recipe != job.recipe:
                otherwise.add("the recipe, or kseg, prepares cases in another way now")
    elsewhere = _of_another_source(recipe, found, manifest) if changes else ""
    if elsewhere:
        otherwise |= {change.phrase for change in changes}
    if not (changes or otherwise):
        otherwise |= set(_replanned(recipe, found, manifest))
    first = (elsewhere,) if elsewhere else ()
    listed = {scan.case: number for number, scan in enumerate(found.scans)}
    changes.sort(key=lambda change: listed.get(change.case, -1))
    return SourceChanges(tuple(changes), (*first, *sorted(otherwise)), Earlier(settled, shards))


def _settled(found: ScanList, manifest: Manifest) -> Mapping[str, str]:
    """The split of each subject who has one; who goes by another name now keeps that of the same cases."""
    splits: dict[str, str] = {case.subject: case.split for case in manifest.cases}
    of_case = {case.case: case.split for case in manifest.cases}
    renamed: dict[str, set[str]] = {}
    for scan in found.scans:
        if scan.subject not in splits and scan.case in of_case:
            renamed.setdefault(scan.subject, set()).add(of_case[scan.case])
    return splits | {
        subject: "train" if "train" in before else min(before)  # of several one that nothing is scored on
        for subject, before in renamed.items()
    }


def _gone(found: ScanList, manifest: Manifest) -> Iterator[CaseChange]:
    known = {scan.case for scan in found.scans}
    for case in manifest.cases:
        if case.case not in known:
            yield CaseChange(case.case, "removed", f"case '{case.case}' is gone", (case.subject,))
    for out in manifest.left_out:
        if out.case not in known:
            yield CaseChange(out.case, "removed", f"case '{out.case}', which was left out, is gone")


def _appeared(scan: Scan, left_out: Mapping[str, str | None]) -> CaseChange | None:
    """The change of a case that has no shard; `left_out` are the hashes of those that were left out."""
    if scan.case not in left_out:
        return CaseChange(scan.case, "added", f"case '{scan.case}' is new", (scan.subject,))
    if left_out[scan.case] in (None, scan.hashes().origin):
        return None
    phrase = f"the files of case '{scan.case}', which was left out, have changed"
    return CaseChange(scan.case, "added", phrase, (scan.subject,))


def _compared(scan: Scan, origin_hash: str, before: CaseEntry, split: str) -> CaseChange | None:
    """The change of a case that has a shard."""
    if before.origin_hash != origin_hash:
        return CaseChange(
            scan.case, "changed", f"the files of case '{scan.case}' have changed", (before.subject, scan.subject)
        )
    if before.subject != scan.subject:
        phrase = f"case '{scan.case}' is of subject '{scan.subject}' now, was of '{before.subject}'"
        return CaseChange(scan.case, "changed", phrase, (before.subject, scan.subject))
    if before.split != split:
        return CaseChange(scan.case, "moved", _other_split(scan.case, split, before.split), (scan.subject,), split)
    return None


def _prepared_otherwise(recipe: Recipe, found: ScanList, manifest: Manifest) -> Iterator[str]:
    """What no change of a case explains, but for how a case is prepared."""
    if (found.channels, found.labels.in_files) != (manifest.channels, manifest.label_map.in_files):
        yield "channels or labels have changed"
    if found.labels.regions != manifest.regions:
        yield "regions have changed"
    if found.annotation != manifest.annotation:
        yield "data.annotated_slices or data.empty_slices have changed"
    asked, drawn = recipe.data, (manifest.val_fraction, manifest.test_fraction)
    as_before = all(of in (None, now) for of, now in zip(drawn, (asked.val_fraction, asked.test_fraction), strict=True))
    if as_before and drawn != (None, None) and recipe.seed == manifest.seed:
        return
    there = {case.case for case in manifest.cases}
    scans = [scan for scan in found.scans if scan.case in there]
    gone = [case.model_copy(update={"split": ""}) for case in manifest.cases]
    gone = [case for case in gone if case.subject not in {scan.subject for scan in scans}]
    splits = split_by_subject([*scans, *gone], asked.val_fraction, asked.test_fraction, recipe.seed)
    drawn_now = {scan.subject for scan in scans if not scan.split}
    for case in manifest.cases:
        if case.subject in drawn_now and splits[case.subject] != case.split:
            yield _other_split(case.case, splits[case.subject], case.split)


def _of_another_source(recipe: Recipe, found: ScanList, manifest: Manifest) -> str:
    """Why what is there is no earlier state of the source, and must not be replaced by it; empty if it is."""
    if recipe.data.source == PHANTOM:
        return "the phantom is another"
    if "://" in manifest.source or local(manifest.source).resolve() != local(recipe.data.source).resolve():
        return f"it was prepared from '{manifest.source}'"
    if not {case.case for case in manifest.cases} & {scan.case for scan in found.scans}:
        return "none of its cases is there any more"
    return ""


def _replanned(recipe: Recipe, found: ScanList, manifest: Manifest) -> Iterator[str]:
    """What of the plan would be another for the same cases, but its sentences, and what each training plans anew."""
    left_out = {"warnings", "patch_size", "batch_size", "pooling", "step_seconds"}
    before, now = (
        plan.model_dump(exclude=left_out) for plan in (manifest.plan, plan_of(recipe, found, manifest.cases))
    )
    for key in before:
        if before[key] != now[key]:
            yield f"kseg plans another {key} now: {now[key]}, was {before[key]}"


def _other_split(case: str, now: str, before: str) -> str:
    return f"case '{case}' is to be {now}, was {before}"
