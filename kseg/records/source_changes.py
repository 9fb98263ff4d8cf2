"""Whether a prepared dataset is still what its scans and its recipe would give."""

from kseg.console.terminal import progress
from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest
from kseg.records.scans import ScanList
from kseg.records.write import case_jobs, plan_of, splits_of


def find_changes(recipe: Recipe, found: ScanList, manifest: Manifest) -> list[str]:
    """Return what has changed since a dataset was prepared, a phrase each; every source is read, to hash it."""
    prepared = {case.case: case for case in manifest.cases}
    left_out = {out.case: out.origin_hash for out in manifest.left_out}
    known = {scan.case for scan in found.scans}
    changes = [f"case '{case}' is gone" for case in prepared.keys() - known]
    if (found.channels, found.labels.to_json()) != (manifest.channels, manifest.labels):
        changes.append("channels or labels have changed")
    splits = splits_of(recipe, found)
    for job in progress(case_jobs(recipe, found, recipe.records_folder), "comparing"):
        scan, case = job.scan, prepared.get(job.scan.case)
        if case is None:
            if scan.case not in left_out:
                changes.append(f"case '{scan.case}' is new")
            elif left_out[scan.case] not in (None, scan.origin_hash()):
                changes.append(f"the files of case '{scan.case}', which was left out, have changed")
        elif case.origin_hash != scan.origin_hash():
            changes.append(f"the files of case '{scan.case}' have changed")
        elif case.recipe != job.recipe:
            changes.append("the recipe, or kseg, prepares cases in another way now")
        elif (case.subject, case.split) != (scan.subject, splits[scan.subject]):
            changes.append(f"case '{scan.case}' is to be {splits[scan.subject]}, was {case.split}")
    return sorted(set(changes)) or _replanned(recipe, found, manifest)


def _replanned(recipe: Recipe, found: ScanList, manifest: Manifest) -> list[str]:
    """What of the plan would be another for the same cases; its sentences for the user do not count."""
    before, now = (
        plan.model_dump(exclude={"warnings"}) for plan in (manifest.plan, plan_of(recipe, found, manifest.cases))
    )
    return [
        f"data.memory_gb = {recipe.data.memory_gb:g}, or kseg, plans another {key} now: {now[key]}, was {before[key]}"
        for key in before
        if before[key] != now[key]
    ]
