"""Writing a prepared dataset: a shard for each case and the manifest, which readers find whole or not at all.

A `kseg.prepare` that is killed leaves the folder `.partial-<dataset>`; the next one keeps the cases finished there.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kseg import __version__
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.terminal import progress
from kseg.console.text import some_of
from kseg.recipe.sections import Recipe
from kseg.recipe.types import SPLITS, Spacing
from kseg.records.bad_cases import BadCases
from kseg.records.bricks import MAX_EDGE
from kseg.records.destinations import destination
from kseg.records.manifest import CaseEntry, LeftOut, Manifest, Shard, manifest_text
from kseg.records.plan import Plan, make_plan
from kseg.records.process_pool import run_jobs
from kseg.records.scans import ScanList
from kseg.records.schema import VERSION
from kseg.records.split_by_subject import split_by_subject
from kseg.records.write_case import CaseJob, Outcome, check_case, take_over
from kseg.storage.locations import Location, reaching
from kseg.volumes.annotated_slices import Annotation
from kseg.volumes.labels import LabelMap

MAX_NAMED = 3
READING = 2
"""How scans are read. It goes up when the same file may give other voxels, or none: 2 since DICOM's rescale and place
are those of each slice, and a spacing that no file states is not 1 mm. What was prepared before is then told."""

RunJobs = Callable[[Sequence[CaseJob]], Iterable[Outcome]]
"""From jobs to what becomes of each, in whatever order: `run_jobs`, or something with machines of its own."""


@dataclass(frozen=True)
class Earlier:
    """What a dataset takes over from the one in its place, which it brings up to date.

    `splits` are those of its subjects, who stay in them; `shards` of its cases, by name, are as they would be now.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    shards: Mapping[str, Shard] = field(default_factory=dict)


NOTHING = Earlier()


def write_dataset(
    recipe: Recipe,
    found: ScanList,
    skip_bad: bool = False,
    engine: RunJobs = run_jobs,
    earlier: Earlier = NOTHING,
) -> Manifest:
    """Write the shard of every scan and the manifest, and move them to `data.records`.

    The bytes do not depend on the engine, nor on how often it was killed and started again.

    Args:
        recipe: says where to, and how subjects are split.
        found: the scans.
        skip_bad: leave bad scans out and list them in the manifest, instead of raising.
        engine: runs the jobs.
        earlier: what is taken over from the dataset that is there.

    Raises:
        InputError: bad scans, each told; no scan is left to train on; or `data.records` is a folder of something
            else, which must not be replaced, or cannot be reached. What is finished is kept for the next time.
    """
    target = destination(recipe.records_folder)
    with reaching(recipe.records_folder):
        target.check()
        with target.alone():
            jobs = case_jobs(recipe, found, target.partial, earlier.splits)
            to_do = [job for job in jobs if job.scan.case not in earlier.shards]
            outcomes = _run(to_do, engine, found, BadCases(found, skip_bad))
            for job in jobs:
                if shard := earlier.shards.get(job.scan.case):
                    outcomes[job.scan.case] = take_over(job, shard, recipe.records_folder)
            manifest = _manifest(recipe, found, [outcomes[job.scan.case] for job in jobs], earlier.splits)
            target.publish(manifest_text(manifest), {case.file for case in manifest.cases})
    return manifest


def case_jobs(
    recipe: Recipe, found: ScanList, folder: Location, settled: Mapping[str, str] = NOTHING.splits
) -> list[CaseJob]:
    """Return the jobs of all scans: those to train on first, then those to validate and to test on."""
    splits = splits_of(recipe, found, settled)
    in_order = sorted(found.scans, key=lambda scan: SPLITS.index(splits[scan.subject]))
    digest = preparation_hash(
        found.labels, found.channels, found.spacing_mm, recipe.data.assume_spacing_mm, found.annotation
    )
    return [CaseJob(scan, folder, found.labels.num_classes, digest) for scan in in_order]


def preparation_hash(
    labels: LabelMap,
    channels: Sequence[str],
    spacing_mm: Spacing,
    assume_spacing_mm: Spacing,
    annotation: Annotation,
) -> str:
    """Return the SHA-256 of how this kseg prepares a case, whatever it is made from.

    What an earlier kseg did not know is in it where it is used, so that its cases keep their hash.
    """
    choices: dict[str, Any] = {
        "schema": VERSION,
        "labels": labels.to_json(),
        "channels": channels,
        "brick": MAX_EDGE,
        "spacing_mm": spacing_mm,
        "assume_spacing_mm": assume_spacing_mm,
        "reading": READING,
    }
    if labels.ignore is not None:
        choices["ignore"] = labels.ignore
    if annotation != Annotation():
        choices["annotation"] = annotation.model_dump()
    if spacing_mm and (labels.ignore is not None or annotation != Annotation()):
        choices["slices"] = "kept where voxels are longer"  # earlier versions passed over them
    return hashlib.sha256(json.dumps(choices).encode()).hexdigest()


def _run(jobs: Sequence[CaseJob], engine: RunJobs, found: ScanList, bad: BadCases) -> dict[str, Outcome]:
    """Return what became of each job, by its case; what headers tell is told of all before any volume is read.

    Raises:
        InputError: there are bad cases, and they are not to be left out. All others are finished.
    """
    outcomes: dict[str, Outcome] = {}
    listed = {scan.case: number for number, scan in enumerate(found.scans)}
    for job in progress(sorted(jobs, key=lambda job: listed[job.scan.case]), "looking at headers"):
        if faulty := check_case(job):
            outcomes[faulty.case] = faulty
            bad.add(faulty)
    sound = [job for job in jobs if job.scan.case not in outcomes]
    for outcome in progress(engine(sound), "preparing", total=len(sound)):
        outcomes[outcome.case] = outcome
        if outcome.shard is None:
            bad.add(outcome)
    _tell(outcomes.values())
    if again := sum(outcome.again for outcome in outcomes.values()):
        say(f"{again} of {len(jobs)} cases were finished before")
    bad.end()
    return outcomes


def _tell(outcomes: Iterable[Outcome]) -> None:
    """Say once of what the files leave open, and of which cases."""
    cases: dict[str, list[str]] = {}
    for outcome in outcomes:
        for note in outcome.notes:
            cases.setdefault(note, []).append(outcome.case)
    for note, named in cases.items():
        say(f"note: {some_of(sorted(named), MAX_NAMED)}: {note}")


def _manifest(recipe: Recipe, found: ScanList, outcomes: Sequence[Outcome], settled: Mapping[str, str]) -> Manifest:
    splits = splits_of(recipe, found, settled)
    named = {scan.split for scan in found.scans}
    shards = [outcome.shard for outcome in outcomes if outcome.shard]
    cases = [CaseEntry(split=splits[shard.subject], **dict(shard)) for shard in shards]
    if not any(case.split == "train" for case in cases):
        raise InputError(f"no scan of '{recipe.data.source}' is left to train on: fix those that were left out")
    return Manifest(
        kseg_version=__version__,
        source=recipe.data.source,
        seed=recipe.seed,
        channels=found.channels,
        labels=found.labels.to_json(),
        other_labels=found.other_labels,
        ignore=found.labels.ignore,
        regions=found.labels.regions,
        annotation=found.annotation,
        spacing_mm=found.spacing_mm,
        val_fraction=recipe.data.val_fraction if "val" not in named and "" in named else None,
        test_fraction=recipe.data.test_fraction if "test" not in named and "" in named else None,
        plan=plan_of(recipe, found, cases),
        cases=tuple(cases),
        left_out=tuple(
            LeftOut(case=out.case, reason=out.reason, origin_hash=out.origin_hash)
            for out in outcomes
            if out.shard is None
        ),
    )


def plan_of(recipe: Recipe, found: ScanList, cases: Sequence[CaseEntry]) -> Plan:
    """Return the plan for the cases that are not to test; of the recipe `data.memory_gb` decides it."""
    to_plan = [case for case in cases if case.split != "test"]
    return make_plan(to_plan, found.channels, found.labels.names, recipe.data.memory_gb)


def splits_of(recipe: Recipe, found: ScanList, settled: Mapping[str, str] = NOTHING.splits) -> dict[str, str]:
    """Return the split of each subject; those that are `settled` stay where they are."""
    return split_by_subject(found.scans, recipe.data.val_fraction, recipe.data.test_fraction, recipe.seed, settled)
