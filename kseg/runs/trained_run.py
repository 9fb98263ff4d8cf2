"""A trained run as it is used: one model, or several as an ensemble: a cross-validation's folds, or runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import some_of
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import SAVED_MODELS, Recipe
from kseg.records.manifest import Manifest
from kseg.runs.data_description import DataDescription
from kseg.runs.owned_files import NAME_ANOTHER
from kseg.runs.package import is_package, unpacked
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.files import sha256_of
from kseg.storage.locations import Location, local

MAX_NAMED = 3


@dataclass(frozen=True)
class TrainedRun:
    """A run that can segment: `members` is the run itself, or several, whose probabilities are averaged.

    These are its folds, or the run and those of `evaluation.ensemble`. `folder` takes what is made of the run: scores,
    pictures, the choice of post-processing.
    """

    folder: RunFolder
    members: tuple[RunFolder, ...]
    recipe: Recipe
    description: DataDescription
    package: Path | None = None
    """The file from which it was unpacked, for as long as this process lives."""

    @property
    def is_cross_validation(self) -> bool:
        """Whether members validate on subjects that others were trained on."""
        return len(self.members) > 1 and not self.recipe.evaluation.ensemble

    def model_hashes(self) -> list[str]:
        """Return the SHA-256 of each member's model: what was chosen by a model holds for that model."""
        return [sha256_of(member.model) for member in self.members]

    def share_out(self, manifest: Manifest, split: str) -> list[tuple[tuple[RunFolder, ...], Manifest]]:
        """Return who segments which cases of a split: members, with the manifest that lists their cases.

        An ensemble's members segment the cases together; but each fold validates alone on its own subjects, since the
        others were trained on them.
        """
        if len(self.members) > 1 and not (split == "val" and self.is_cross_validation):
            return [(self.members, manifest)]
        subjects = [member.load_data_description().val_subjects for member in self.members]
        return [
            ((member,), manifest.with_validation(of_fold) if of_fold else manifest)
            for member, of_fold in zip(self.members, subjects, strict=True)
        ]

    def check_split(self, manifest: Manifest, records: Location, split: str, choosing: bool = False) -> None:
        """Refuse to score as unseen what the run has learned from; a run of an earlier version may not know.

        In another dataset than the run's own the same name may be another person's: a note says so.

        Args:
            manifest: of the dataset.
            records: its folder.
            split: to be scored; cases to train on are scored as what they are.
            choosing: whether the cases choose the post-processing: then they must be the run's own to validate on.

        Raises:
            InputError: in the run's own dataset a subject to test on trained the run or chose its best model, or one to
                validate on trained it; or, with `choosing`, one to validate on is none of the run's.
        """
        if split == "train":
            return
        where = f"in the {split} split of '{records}'"
        fix = f"prepare that with the run's split again, or train anew and {NAME_ANOTHER}"
        elsewhere = str(records) != str(self.recipe.records_folder)
        for members, cases in self.share_out(manifest, split):
            scored = {case.subject for case in cases.of_split(split)}
            known = [member.load_data_description() for member in members]
            trained_on = {subject for one in known for subject in one.learned_from.train}
            self._check_start(known, cases, split, where, fix)
            chosen_by = {subject for one in known for subject in one.chosen_by}
            problem = ""
            if found := scored & trained_on:
                problem = f"run '{self.folder.path}' was trained on {_named(found)}, {where}"
            elif split == "test" and (found := scored & chosen_by):
                problem = f"run '{self.folder.path}' chose its best model by {_named(found)}, {where}"
            if problem and elsewhere:
                say(f"note: {problem}: if these are the same people, the scores are too good")
            elif problem:
                raise InputError(f"{problem}: {fix}")
            if choosing and trained_on and (found := scored - chosen_by):
                raise InputError(
                    f"run '{self.folder.path}' was not validated on {_named(found)}, {where}: {fix}; "
                    "evaluation.postprocessing=none scores without choosing the post-processing"
                )

    def _check_start(self, known: Sequence[DataDescription], cases: Manifest, split: str, where: str, fix: str) -> None:
        """The same for what a run knows by the one that it started from, which had a dataset of its own."""
        scored = cases.of_split(split)
        if same := {subject for one in known for subject in one.learned_before.same_scans(scored, split)}:
            started = f"run '{self.folder.path}' started from one that learned from scans of {_named(same)}"
            raise InputError(f"{started}, {where}: {fix}")
        if found := {subject for one in known for subject in one.learned_before.same_names(scored, split)}:
            say(
                f"note: run '{self.folder.path}' started from one that learned from {_named(found)}, {where}: if these "
                "are the same people, the scores are too good"
            )

    def has_split_of(self, manifest: Manifest) -> bool:
        """Whether the run learned from a dataset's subjects to train and to validate on, as far as it says."""
        return not any(member.load_data_description().split_changes(manifest) for member in self.members)


def open_trained(run: str, changes: Sequence[str] = ()) -> TrainedRun:
    """Open a run, given its name or its path: a model's folder, one that holds `fold-1`, `fold-2`, ..., or a package.

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
    package = local(run) if is_package(run) else None
    run = str(unpacked(package)) if package else run
    paths = next((folds for path in (local(run), SAVED_MODELS / run) if (folds := _folds(path))), [])
    members = tuple(open_run(str(path)) for path in paths) or (open_run(run),)
    recipes = [load_recipe(member.recipe, changes) for member in members]
    descriptions = [member.load_data_description() for member in members]
    for path, recipe, description in zip(paths, recipes, descriptions, strict=False):
        if _uses(recipe, description) != _uses(recipes[0], descriptions[0]):
            raise InputError(f"'{path}' differs from '{paths[0]}' in its data, patches or evaluation: train both alike")
    folder = RunFolder(paths[0].parent) if paths else members[0]
    trained = TrainedRun(folder, members, recipes[0], descriptions[0], package)
    return _with_others(trained) if recipes[0].evaluation.ensemble else trained


def _with_others(trained: TrainedRun) -> TrainedRun:
    """Join a run with those of its `evaluation.ensemble`, which must have learned from the same subjects.

    Raises:
        InputError: one has folds, or differs in what it segments or in whose scans it learned from.
    """
    members, key = list(trained.members), "evaluation.ensemble"
    for name in trained.recipe.evaluation.ensemble:
        other = open_trained(name, [f"{key}=[]"])
        path = other.package or other.folder.path
        if len(other.members) > 1 or len(trained.members) > 1:
            folds = path if len(other.members) > 1 else trained.folder.path
            raise InputError(f"{key}: run '{folds}' has folds, which are an ensemble already: join single runs")
        if sha256_of(other.folder.model) in map(sha256_of, (member.model for member in members)):
            raise InputError(f"{key}: run '{path}' is in it twice, or a copy of it: name each other run once")
        if trained.description.of_scans != other.description.of_scans:
            raise InputError(f"{key}: run '{path}' differs from '{trained.folder.path}' in its data")
        ours, theirs = (list(one.recipe.patches.size) for one in (trained, other))
        if ours != theirs:
            raise InputError(
                f"{key}: run '{path}' has patches of {theirs}, '{trained.folder.path}' of {ours}: train it with "
                f"'patches.size={ours}'"
            )
        known = trained.description.learned_from
        if not (known.train and known.agrees(other.description.learned_from)):
            raise InputError(
                f"{key}: run '{path}' was trained or validated on other scans than '{trained.folder.path}', or does "
                "not say on whose: train both on one prepared dataset, with another seed"
            )
        members.append(other.folder)
    return replace(trained, members=tuple(members))


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
    return recipe.patches.size, recipe.evaluation, description.of_scans


def _named(subjects: Collection[str]) -> str:
    quoted = [f"'{subject}'" for subject in sorted(subjects)]
    return f"subject{'s' if len(quoted) > 1 else ''} {some_of(quoted, MAX_NAMED)}"
