"""What a run takes over from the trained run that it starts from: `train.start_from`.

Weights mean something to the network, the voxels and the intensities that they were learned with. So where the recipe
says nothing, network, spacing and normalisation are the other run's, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import some_of
from kseg.recipe.sections import Network, Recipe
from kseg.recipe.types import Section, Spacing
from kseg.records.manifest import Manifest
from kseg.runs.data_description import LearnedFrom
from kseg.runs.package import is_package
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.locations import local
from kseg.volumes.intensity_normalisation import Scale

MAX_NAMED = 5


@dataclass(frozen=True)
class Start:
    """A run that another starts from.

    `run` is its name; `recipe` its recipe; `channels` are the names of its channels, `scales` how each is normalised;
    `spacing_mm` is that to which its scans were resampled; `learned_from` says whose scans it knows, by what it started
    from itself, too.
    """

    run: str
    recipe: Recipe
    channels: tuple[str, ...]
    scales: tuple[Scale, ...]
    spacing_mm: Spacing
    learned_from: LearnedFrom
    is_under_way: bool = False
    """Whether its training has not come to its end."""

    def scales_of(self, channels: Sequence[str]) -> tuple[Scale, ...] | None:
        """Return how it normalises these channels, whatever their order; None where they are not its own."""
        order = order_of(channels, self.channels)
        return tuple((self.scales or (Scale(),) * len(channels))[index] for index in order) if order else None


def open_start(recipe: Recipe) -> Start | None:
    """Return the run that a recipe starts from; None where it starts from none.

    Raises:
        InputError: there is no such run, or it is not whole.
    """
    if not recipe.train.start_from:
        return None
    folder = open_run(recipe.train.start_from)
    description = folder.load_data_description()
    known = description.learned_from.joined(description.learned_before)
    own = (description.channels, description.scales, description.spacing_mm)
    return Start(recipe.train.start_from, folder.load_recipe(), *own, known, folder.is_under_way)


def files_of_start(recipe: Recipe) -> list[Path]:
    """Return what a training reads of the run that it starts from: its folder, or its package.

    Raises:
        InputError: see `open_start`.
    """
    run = recipe.train.start_from
    if not run:
        return []
    return [local(run) if is_package(run) else open_run(run).path]


def start_of_begun(folder: RunFolder) -> Start | None:
    """Return what a run that is resumed took over when it began: what it started from may be gone."""
    recipe, description = folder.load_recipe(), folder.load_data_description()
    if not recipe.train.start_from:
        return None
    own = (description.channels, description.scales, description.spacing_mm)
    return Start(recipe.train.start_from, recipe, *own, description.learned_before)


def check_same_start(recipe: Recipe, start: Start) -> None:
    """See to it that folds which have not begun can start from the run that the others started from.

    Raises:
        InputError: it is gone, or has been trained anew since.
    """
    run = recipe.train.start_from
    now = open_start(recipe)
    if now and not now.learned_from.agrees(start.learned_from):
        raise InputError(
            f"run '{run}' is not the one from which the folds that have begun started: bring that back, or train all "
            "folds anew with --force"
        )


def order_of(names: Sequence[str], among: Sequence[str]) -> list[int] | None:
    """Return where each of some names stands among others; None where these are not the same names."""
    return [among.index(name) for name in names] if sorted(names) == sorted(among) else None


def following(recipe: Recipe, start: Start, channels: Sequence[str]) -> Recipe:
    """Return the recipe with the network of `start` and, where its channels are the same, their normalisation.

    What the recipe gives itself stays.

    Args:
        recipe: as the user wrote it.
        start: the run that it starts from.
        channels: names of the channels of the dataset that is to be learned.
    """
    update, taken = dict[str, Section](), list[str]()
    own, before = recipe.network.model_fields_set, start.recipe.network
    if "preset" not in own or recipe.network.preset == before.preset:
        given = {key: getattr(recipe.network, key) for key in own}
        update["network"] = before.model_copy(update={**_of_other_levels(recipe.network, before), **given})
        taken.append(f"network {before.preset}{f' but for {some_of(sorted(own), MAX_NAMED)}' if own else ''}")
    scales = start.scales_of(channels)
    if recipe.data.normalisation is None and scales:
        normalisation = tuple(scale.kind for scale in scales)
        update["data"] = recipe.data.model_copy(update={"normalisation": normalisation})
        taken.append(f"normalisation {', '.join(normalisation)}")
    if taken:
        say(f"as in run '{start.run}': {'; '.join(taken)}")
    return recipe.model_copy(update=update)


def _of_other_levels(network: Network, before: Network) -> dict[str, None]:
    """Keys of a network that say something of each level, and do not fit the filters of another: the preset's do."""
    if not network.filters:
        return {}
    by_level = {"pooling": before.pooling, "dilation_rates": before.dilation_rates}
    return {
        key: None
        for key, values in by_level.items()
        if values and isinstance(values[0], tuple) and len(values) != len(network.filters)
    }


def with_spacing_of_start(recipe: Recipe) -> Recipe:
    """Return the recipe with the spacing to which the run that it starts from resampled scans, where it gives none.

    Raises:
        InputError: see `open_start`.
    """
    start = open_start(recipe)
    if start is None or "spacing_mm" in recipe.data.model_fields_set or not start.spacing_mm:
        return recipe
    spacing_mm = start.spacing_mm
    say(f"data.spacing_mm = {list(spacing_mm)}, as in run '{start.run}'")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"spacing_mm": spacing_mm})})


def start_notes(start: Start, manifest: Manifest, in_folds: bool = False) -> list[str]:
    """Say what of a dataset is otherwise than the run's that a training starts from, and whom that run knows of it.

    Args:
        start: the run.
        manifest: of the dataset.
        in_folds: whether all but those to test on are to validate, each in a fold.
    """
    if in_folds:
        manifest = manifest.with_validation({case.subject for case in manifest.cases})
    notes = []
    if start.is_under_way:
        notes.append(f"run '{start.run}' is not trained to its end yet: its best model so far is taken")
    if tuple(start.spacing_mm) != tuple(manifest.spacing_mm):
        both = (manifest.spacing_mm, start.spacing_mm)
        own, other = (f"voxels of {list(mm)} mm" if mm else "each scan's own voxels" for mm in both)
        notes.append(f"the dataset has {own}, run '{start.run}' learned from {other}: its weights may be of less use")
    if order_of(manifest.channels, start.channels) is None:
        here, there = (", ".join(names) for names in (manifest.channels, start.channels))
        notes.append(
            f"the dataset has the channels {here}, run '{start.run}' learned from {there}: they are normalised as the "
            "dataset's plan says, unless data.normalisation does"
        )
    if not start.learned_from.train:
        notes.append(f"run '{start.run}' does not say whose scans it knows: none of them may validate or test")
    for split, judges in (("val", "validate"), ("test", "test")):
        learned, cases = start.learned_from, manifest.of_split(split)
        if known := sorted(learned.same_scans(cases, split) | learned.same_names(cases, split)):
            notes.append(
                f"run '{start.run}' has learned from subjects of these names, who are to {judges} here: "
                f"{some_of(known, MAX_NAMED)}; if they are the same people, scores are too good"
            )
    return notes
