"""The cases of a prepared dataset as they lie in the files that it was made from."""

from dataclasses import replace

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import some_of
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.records.scans import PHANTOM
from kseg.storage.locations import local
from kseg.volumes.cases.case import CaseList
from kseg.volumes.cases.find import find_cases

MAX_NAMED = 5


def cases_of_split(recipe: Recipe, split: str) -> CaseList:
    """Return the cases of a split of a run's dataset, by the list that it was prepared from.

    Args:
        recipe: of the run: it names both.
        split: as the prepared dataset has it.

    Raises:
        InputError: the dataset or the list is not there, or has no such case; or the dataset is made up.
    """
    if recipe.data.source == PHANTOM:
        remedy = f"name scans; {command_line('phantom')} writes some"
        raise InputError(f"the run's dataset is the phantom, which has no files: {remedy}")
    manifest = load_manifest(recipe.records_folder)
    names = {case.case for case in manifest.of_split(split)}
    if not names:
        raise InputError(f"'{recipe.records_folder}' has no {split} cases: choose another --split")
    listed = find_cases(local(recipe.data.source), images_only=True)
    cases = tuple(case for case in listed.cases if case.case in names)
    if not cases:
        raise InputError(f"'{recipe.data.source}' has none of the {split} cases of '{recipe.records_folder}'")
    if gone := sorted(names - {case.case for case in cases}):
        say(f"note: '{recipe.data.source}' no longer has {some_of(gone, MAX_NAMED)} of the {split} cases")
    return replace(listed, cases=cases)
