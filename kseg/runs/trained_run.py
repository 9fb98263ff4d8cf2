"""A trained run as it is used: one model, or the models of a cross-validation's folds as an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import SAVED_MODELS, Recipe
from kseg.records.manifest import Manifest
from kseg.runs.data_description import DataDescription
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.files import sha256_of


@dataclass(frozen=True)
class TrainedRun:
    """A run that can segment: `members` is the run itself, or its folds, whose probabilities are averaged.

    `folder` takes what is made of the run: scores, pictures, the choice of post-processing.
    """

    folder: RunFolder
    members: tuple[RunFolder, ...]
    recipe: Recipe
    description: DataDescription

    def model_hashes(self) -> list[str]:
        """Return the SHA-256 of each member's model: what was chosen by a model holds for that model."""
        return [sha256_of(member.model) for member in self.members]

    def share_out(self, manifest: Manifest, split: str) -> list[tuple[tuple[RunFolder, ...], Manifest]]:
        """Return who segments which cases of a split: members, with the manifest that lists their cases.

        An ensemble's members segment the cases together; but each fold validates alone on its own subjects, since the
        others were trained on them.
        """
        if split != "val" and len(self.members) > 1:
            return [(self.members, manifest)]
        subjects = [member.load_data_description().val_subjects for member in self.members]
        return [
            ((member,), manifest.with_validation(of_fold) if of_fold else manifest)
            for member, of_fold in zip(self.members, subjects, strict=True)
        ]


def open_trained(run: str, changes: Sequence[str] = ()) -> TrainedRun:
    """Open a run, given its name or its path: a model's folder, or one that holds `fold-1`, `fold-2`, ...

    Args:
        run: name or path.
        changes: `evaluation.key=value`, changes to the section of the recipe that says how volumes are segmented.

    Raises:
        InputError: there is no such run, it is not whole, its folds do not belong together, or a change is to
            what was settled by training.
    """
    for change in changes:
        if not change.startswith("evaluation."):
            raise InputError(f"'{change}' cannot be changed once a run is trained: only evaluation.key=value can")
    paths = next((folds for path in (Path(run), SAVED_MODELS / run) if (folds := _folds(path))), [])
    members = tuple(open_run(str(path)) for path in paths) or (open_run(run),)
    recipes = [load_recipe(member.recipe, changes) for member in members]
    descriptions = [member.load_data_description() for member in members]
    for path, recipe, description in zip(paths, recipes, descriptions, strict=False):
        if _uses(recipe, description) != _uses(recipes[0], descriptions[0]):
            raise InputError(f"'{path}' differs from '{paths[0]}' in its data, patches or evaluation: train both alike")
    folder = RunFolder(paths[0].parent) if paths else members[0]
    return TrainedRun(folder, members, recipes[0], descriptions[0])


def _folds(path: Path) -> list[Path]:
    """The folders fold-1 ... fold-K of a cross-validation; none if `path` is no such run.

    Raises:
        InputError: one is missing between them.
    """
    if RunFolder(path).recipe.is_file() or not path.is_dir():
        return []
    folder = RunFolder(path)
    numbers = folder.fold_numbers
    if numbers and numbers[-1] != len(numbers):
        raise InputError(f"run '{path}' has the folds {numbers}: train those that are missing with --resume")
    return [folder.fold(number).path for number in numbers]


def _uses(recipe: Recipe, description: DataDescription) -> tuple[object, ...]:
    """What members of an ensemble must have in common."""
    return recipe.patches.size, recipe.evaluation, description.model_copy(update={"val_subjects": ()})
