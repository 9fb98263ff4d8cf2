"""Runs that were trained on what a dataset held before it was brought up to date."""

from collections.abc import Collection, Iterator
from pathlib import Path

from kseg.console.errors import InputError
from kseg.recipe.sections import SAVED_MODELS
from kseg.records.manifest import Manifest
from kseg.runs.owned_files import RECIPE_FILE
from kseg.runs.run_folder import FOLD_NAME, RunFolder
from kseg.storage.locations import Location, is_remote


def outdated_runs(records: Location, manifest: Manifest, subjects: Collection[str]) -> list[str]:
    """Return the names of the runs in `saved_models/` that learned from a dataset as it is no more.

    Args:
        records: the dataset's folder.
        manifest: the dataset as it is now.
        subjects: whose data have changed.

    Returns:
        Names of runs, and of the folders of folds, sorted. A run of an earlier version, which does not say whose scans
        it learned from, and a folder that cannot be read as a run, are none.
    """
    runs = _runs_on(records, SAVED_MODELS)
    return sorted({_name(run) for run in runs if _is_outdated(run, manifest, subjects)})


def options_to_replace(name: str, records: Location, manifest: Manifest) -> str:
    """Return the options by which `kseg.train` makes a run anew, of as many folds, if it is outdated.

    Args:
        name: of the run, which need not be there.
        records: the dataset's folder.
        manifest: the dataset as it is now.

    Returns:
        As they follow a command: " --folds 5 --force". Empty for a run that is as it should be, or not there.
    """
    folder = SAVED_MODELS / name
    if not any(_name(run) == name and _is_outdated(run, manifest, ()) for run in _runs_on(records, folder)):
        return ""
    folds = RunFolder(folder).fold_numbers
    return (f" --folds {len(folds)}" if folds else "") + " --force"


def _runs_on(records: Location, folder: Path) -> Iterator[RunFolder]:
    """The runs of a dataset in a folder, or below it."""
    for path in folder.rglob(RECIPE_FILE):
        run = RunFolder(path.parent)
        try:
            theirs = run.load_recipe().records_folder
        except (InputError, OSError):
            continue
        if _place(theirs) == _place(records):
            yield run


def _is_outdated(run: RunFolder, manifest: Manifest, subjects: Collection[str]) -> bool:
    try:
        description = run.load_data_description()
    except (InputError, OSError):
        return False
    learned = {*description.learned_from.train, *description.learned_from.val}
    return bool(learned and (learned & set(subjects) or description.changes(manifest)))


def _name(run: RunFolder) -> str:
    folder = run.path.parent if FOLD_NAME.fullmatch(run.path.name) else run.path
    return folder.relative_to(SAVED_MODELS).as_posix()


def _place(records: Location) -> str:
    return str(records) if is_remote(records) else str(Path(str(records)).resolve())
