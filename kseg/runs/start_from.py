"""What a run takes over from the trained run that it starts from: `train.start_from`.

Weights mean something to the network, the voxels and the intensities that they were learned with. So where the recipe
says nothing, network, spacing and normalisation are the other run's, too.
"""

from dataclasses import dataclass

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Section
from kseg.runs.run_folder import RunFolder, open_run
from kseg.volumes.intensity_normalisation import Scale


@dataclass(frozen=True)
class Start:
    """A run that another starts from: its name, its recipe, the `scales` of its channels, and whose scans it knows."""

    run: str
    recipe: Recipe
    scales: tuple[Scale, ...]
    subjects: tuple[str, ...]


def open_start(recipe: Recipe) -> Start | None:
    """Return the run that a recipe starts from; None where it starts from none.

    Raises:
        InputError: there is no such run, it is not whole, or it is the one that is to be trained.
    """
    if not recipe.train.start_from:
        return None
    folder = open_run(recipe.train.start_from)
    if folder.path.resolve() == recipe.run_folder.resolve():
        raise InputError(f"train.start_from is the run '{folder.path}' itself: give the new run a name of its own")
    description = folder.load_data_description()
    known = {*description.learned_from.train, *description.learned_before}
    return Start(recipe.train.start_from, folder.load_recipe(), description.scales, tuple(sorted(known)))


def start_of_begun(folder: RunFolder) -> Start | None:
    """Return what a run that is resumed took over when it began: what it started from may be gone."""
    recipe, description = folder.load_recipe(), folder.load_data_description()
    if not recipe.train.start_from:
        return None
    return Start(recipe.train.start_from, recipe, description.scales, description.learned_before)


def following(recipe: Recipe, start: Start, channels: int) -> Recipe:
    """Return the recipe with the network and the normalisation of `start`, where it gives neither.

    Args:
        recipe: as the user wrote it.
        start: the run that it starts from.
        channels: of the dataset that is to be learned.
    """
    update, taken = dict[str, Section](), list[str]()
    if not recipe.network.model_fields_set:
        update["network"] = start.recipe.network
        taken.append(f"network {start.recipe.network.preset}")
    normalisation = start.recipe.data.normalisation
    if recipe.data.normalisation is None and normalisation and len(normalisation) == channels:
        update["data"] = recipe.data.model_copy(update={"normalisation": normalisation})
        taken.append(f"normalisation {', '.join(normalisation)}")
    if taken:
        say(f"as in run '{start.run}': {'; '.join(taken)}")
    return recipe.model_copy(update=update)


def with_spacing_of_start(recipe: Recipe) -> Recipe:
    """Return the recipe with the spacing to which the run that it starts from resampled scans, where it gives none.

    Raises:
        InputError: see `open_start`.
    """
    start = open_start(recipe)
    if start is None or "spacing_mm" in recipe.data.model_fields_set or not start.recipe.data.spacing_mm:
        return recipe
    spacing_mm = start.recipe.data.spacing_mm
    say(f"data.spacing_mm = {list(spacing_mm)}, as in run '{start.run}'")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"spacing_mm": spacing_mm})})


def spacing_note(start: Start, spacing_mm: tuple[float, ...]) -> str:
    """Say that a dataset was prepared at another spacing than the run's that a training starts from; empty if not."""
    before = start.recipe.data.spacing_mm
    if tuple(before) == tuple(spacing_mm):
        return ""
    own, other = ("each scan's own voxels" if not mm else f"voxels of {list(mm)} mm" for mm in (spacing_mm, before))
    return f"the dataset has {own}, run '{start.run}' learned from {other}: its weights may be of less use"


def told_layers(taken: int, new: list[str], run: str) -> str:
    """Say which layers began with the weights of another run, and which did not."""
    others = f"; new: {', '.join(new)}" if new else ""
    return f"{counted(taken, 'layer')} with the weights of run '{run}'{others}"
