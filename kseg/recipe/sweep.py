"""Sweeps of several runs: the table `[grid]` of a recipe file, and the runs that it names.

    [grid]
    seeds = [1, 2, 3]

    [grid.axes.kernel]
    shared = []
    learned = ["network.share_kernel=false"]

    [grid.axes.loss]
    parametric = []
    dice = ["loss.parametric_tversky=0", "loss.dice=1"]

    [grid.reference]
    source = "the paper"
    dice = { shared-parametric = 0.81 }

makes 2 x 2 x 3 runs, the first of them `<name>/shared-parametric/seed-1`. All of them read the same prepared dataset:
a run's seed decides weights and patches, not who trains and who tests. Runs that differ in `evaluation.*` alone share
one training. A reference, if any, stands beside the test Dice in tables.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.recipe.explain import explained
from kseg.recipe.load import dump_unplanned, load_recipe, read_toml
from kseg.recipe.sections import Evaluation, Recipe
from kseg.recipe.types import Section, Seed, Word, ZeroToOne

Choices = Annotated[dict[Word, tuple[str, ...]], Field(min_length=1)]


class Reference(Section):
    """Test Dice of some choices that others have reported."""

    source: str = Field(min_length=1)
    dice: dict[str, ZeroToOne] = Field(min_length=1)


class Grid(Section):
    """Seeds, and axes of choices; each choice is a list of changes to the recipe."""

    seeds: tuple[Seed, ...] = Field((1,), min_length=1)
    axes: dict[Word, Choices] = Field(min_length=1)
    reference: Reference | None = None


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its choice on each axis, its seed, and what these change in the recipe.

    `trainer` names the run that trains its model: itself, or an earlier run that differs in `[evaluation]` alone.
    """

    choices: tuple[str, ...]
    seed: int
    changes: tuple[str, ...]
    recipe: Recipe
    trainer: str

    @property
    def title(self) -> str:
        """The choices as one word."""
        return "-".join(self.choices)


@dataclass(frozen=True)
class Sweep:
    """The recipe that all runs share, the runs, and what others have reported.

    Every choice comes with the first seed, then with the next: a sweep cut short has compared all choices.
    """

    recipe: Recipe
    runs: tuple[SweepRun, ...]
    reference: Reference | None = None


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a recipe file with a sweep.

    Args:
        path: the recipe.
        overrides: `key=value` changes to all runs; a choice of the grid comes after them.

    Raises:
        InputError: there is no grid, it is malformed, or the recipe of a run is.
    """
    table = read_toml(path)
    if "grid" not in table:
        raise InputError(f"recipe '{path}' has no table [grid]: {command_line('train')} trains a single run")
    with explained(Grid, table["grid"], f"recipe '{path}', [grid]"):
        grid = Grid.model_validate(table["grid"])
    shared = load_recipe(path, overrides)
    runs = []
    trainers: dict[str, str] = {}
    picks = list(product(*(axis.items() for axis in grid.axes.values())))
    for seed, picked in product(grid.seeds, picks):
        choices = tuple(choice for choice, _ in picked)
        name = f"{shared.name}/{'-'.join(choices)}/seed-{seed}"
        changes = (*(change for _, listed in picked for change in listed), f"seed={seed}", f'name="{name}"')
        recipe = load_recipe(path, [*overrides, *changes], "in [grid]")
        if (recipe.data, recipe.phantom) != (shared.data, shared.phantom):
            raise InputError(f"recipe '{path}': '{'-'.join(choices)}' changes the data: a sweep has one dataset")
        trained = recipe.model_copy(update={"name": "", "evaluation": Evaluation()})
        runs.append(SweepRun(choices, seed, changes, recipe, trainers.setdefault(dump_unplanned(trained), name)))
    titles = {run.title for run in runs}
    alike = Counter(run.recipe.name.casefold() for run in runs)
    if twice := [run for run in runs if alike[run.recipe.name.casefold()] > 1]:
        both = " and ".join(" + ".join(run.choices) for run in twice[:2])
        raise InputError(
            f"recipe '{path}', [grid]: {both} would be one run, '{twice[0].recipe.name}': give the choices other names"
        )
    if grid.reference and (unknown := sorted(set(grid.reference.dice) - titles)):
        raise InputError(f"recipe '{path}', [grid.reference]: '{unknown[0]}' is none of {', '.join(sorted(titles))}")
    return Sweep(shared, tuple(runs), grid.reference)
