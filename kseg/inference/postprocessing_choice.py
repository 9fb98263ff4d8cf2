"""Which post-processing a run uses: for each class the operations that improve its validation cases beyond noise.

What helps one structure harms another: the largest component is right for a muscle and wrong for vessels. So each
operation is tried on the validation cases, and used for a class where

- `LEAST_CASES` cases or more have the class,
- its Dice rises, in the mean over these cases, by more than the standard error of that mean and `LEAST_GAIN`,
- at least as many cases gain as lose, and
- none loses more than `MOST_LOST`: a structure that it has twice, say, of which one piece would go.

Test cases never take part.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from kseg.console.errors import InputError
from kseg.console.text import counted
from kseg.console.validation_errors import first_invalid
from kseg.inference.postprocessing import OPERATIONS, Operation, apply_operation, postprocess, structure_box
from kseg.runs.owned_files import POSTPROCESSING_FILE
from kseg.runs.trained_run import TrainedRun
from kseg.storage.files import whole_file
from kseg.volumes.regions import Structures

Operations = tuple[Operation, ...]
Trial = Mapping[Operations, float | None]
"""Dice of one class in one case after some operations; None where the class is in neither mask."""

LEAST_CASES = 5
"""Fewer cases with a class do not tell a gain from chance."""
LEAST_GAIN = 0.002
"""Of Dice: what is less is not worth an operation that may harm a case unlike these."""
MOST_LOST = 0.02
"""Of Dice, by any case: what takes more from one of a few cases takes a true piece of a structure from others, too."""


class ClassChoice(BaseModel):
    """A class's operations, and its mean Dice on the validation cases without and with them; None if it is in none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operations: Operations
    dice_before: float | None
    dice_after: float | None

    @model_validator(mode="after")
    def _chosen_by_a_gain(self) -> "ClassChoice":
        if self.operations and (self.dice_before is None or self.dice_after is None):
            raise ValueError("operations without the Dice that chose them")
        return self


class PostProcessing(BaseModel):
    """All of `postprocessing.json`: what was chosen for each foreground class, or region, in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: PositiveInt
    """Validation cases that chose."""
    models: tuple[str, ...]
    """SHA-256 of the models that were validated: the choice holds for no others."""
    classes: dict[str, ClassChoice]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was chosen for any class."""
        return not any(self.operations.values())

    @property
    def operations(self) -> dict[str, Operations]:
        """The chosen operations by the name of the class."""
        return {name: choice.operations for name, choice in self.classes.items()}

    def apply(self, labels: np.ndarray, structures: Structures) -> None:
        """Apply the chosen operations to class indices `(x, y, z)` of the run's structures, in place."""
        postprocess(labels, list(self.operations.values()), structures)

    def __str__(self) -> str:
        """Say in a line what was chosen, and what it brought, or why nothing was."""
        chosen = [
            f"{name} {' + '.join(choice.operations)} (Dice {choice.dice_before:.4f} -> {choice.dice_after:.4f})"
            for name, choice in self.classes.items()
            if choice.operations
        ]
        cases = counted(self.cases, "validation case")
        if chosen:
            return f"{', '.join(chosen)}; chosen on {cases}"
        if self.cases < LEAST_CASES:
            return f"none ({cases} cannot tell a gain from chance; {LEAST_CASES} are needed)"
        return f"none (on {cases} no class gained more than chance explains)"


def try_operations(truth: np.ndarray, prediction: np.ndarray, structures: Structures) -> list[Trial]:
    """Return for each foreground class, or region, of a case its Dice after every combination of its operations.

    Those of other regions, which may change it too, are not tried beside them.

    Args:
        truth: class indices `(x, y, z)`, 0 is background; that behind the last class's where nobody labelled a voxel,
            which counts for nothing.
        prediction: class indices `(x, y, z)` on the same grid, not post-processed.
        structures: what classes or regions there are.
    """
    labelled = truth < structures.num_classes
    return [_try_structure(truth, prediction, number, structures, labelled) for number in range(structures.count)]


def choose_operations(
    trials: Sequence[Sequence[Trial]], class_names: Sequence[str], models: Sequence[str]
) -> PostProcessing:
    """Choose each class's operations, one after the other in the order of `OPERATIONS`.

    An operation is used if it helps, by the rule above, the masks as they are after the operations chosen before it.

    Args:
        trials: `try_operations` of each validation case, one or more.
        class_names: names of the foreground classes.
        models: SHA-256 of the models that made the predictions.
    """
    by_class = zip(class_names, zip(*trials, strict=True), strict=True)
    classes = {name: _choose(of_class) for name, of_class in by_class}
    return PostProcessing(cases=len(trials), models=tuple(models), classes=classes)


def save_postprocessing(choice: PostProcessing, run_folder: Path) -> None:
    """Write `postprocessing.json` into a run's folder, all or not at all."""
    with whole_file(run_folder / POSTPROCESSING_FILE) as path:
        path.write_text(choice.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_postprocessing(run_folder: Path, class_names: Sequence[str], models: Sequence[str]) -> PostProcessing | None:
    """Read a run's choice; None where none was made, or for other models than the run's of now.

    Raises:
        InputError: the file is damaged, or is for other classes.
    """
    path = run_folder / POSTPROCESSING_FILE
    try:
        choice = PostProcessing.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        said = first_invalid(error)
        raise InputError(f"'{path}' is damaged ({said}): delete it, or evaluate --split val anew") from None
    if tuple(choice.classes) != tuple(class_names):
        raise InputError(f"'{path}' is for the classes {', '.join(choice.classes)}, not the run's: delete it")
    return choice if choice.models == tuple(models) else None


def chosen_postprocessing(run: TrainedRun) -> PostProcessing | None:
    """Return the post-processing that the run's validation cases chose; None before, or where the recipe wants none.

    An ensemble of runs has that of the first, which it is named by.

    Raises:
        InputError: the run's `postprocessing.json` is damaged.
    """
    if run.recipe.evaluation.postprocessing == "none":
        return None
    own = run.model_hashes()[:1] if run.recipe.evaluation.ensemble else run.model_hashes()
    return load_postprocessing(run.folder.path, run.description.label_map.structure_names, own)


def used_operations(postprocessing: PostProcessing | None) -> dict[str, Operations]:
    """Return the operations of each class that has some: to choose none is to have none."""
    chosen = postprocessing.operations if postprocessing else {}
    return {name: operations for name, operations in chosen.items() if operations}


def _try_structure(
    truth: np.ndarray, prediction: np.ndarray, number: int, structures: Structures, labelled: np.ndarray
) -> Trial:
    box = structure_box(prediction, structures.members[number])
    true = structures.marks(truth, number)
    truth_size, truth_in_box = np.count_nonzero(true), true[box]
    trial: dict[Operations, float | None] = {}
    for count in range(len(OPERATIONS) + 1):
        for operations in combinations(OPERATIONS, count):
            tried = prediction[box].copy()
            for operation in operations:
                apply_operation(tried, operation, number, structures)
            mask = structures.marks(tried, number) & labelled[box]
            sizes = truth_size + np.count_nonzero(mask)
            trial[operations] = 2 * np.count_nonzero(mask & truth_in_box) / sizes if sizes else None
    return trial


def _choose(trials: Sequence[Trial]) -> ClassChoice:
    chosen: Operations = ()
    for operation in OPERATIONS:
        more = (*chosen, operation)
        if _helps([(trial[chosen], trial[more]) for trial in trials]):
            chosen = more
    return ClassChoice(operations=chosen, dice_before=_mean(trials, ()), dice_after=_mean(trials, chosen))


def _helps(before_and_after: Sequence[tuple[float | None, float | None]]) -> bool:
    gains = [after - before for before, after in before_and_after if before is not None and after is not None]
    if len(gains) < LEAST_CASES:
        return False
    standard_error = stdev(gains) / sqrt(len(gains))
    beyond_noise = fmean(gains) > standard_error + LEAST_GAIN
    as_many = sum(gain > 0 for gain in gains) >= sum(gain < 0 for gain in gains)
    return beyond_noise and as_many and min(gains) >= -MOST_LOST


def _mean(trials: Sequence[Trial], operations: Operations) -> float | None:
    scored = [dice for trial in trials if (dice := trial[operations]) is not None]
    return fmean(scored) if scored else None
