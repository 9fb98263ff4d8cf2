"""A recipe with the plan's values where it says nothing, and the scales of the channels that follow from both."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted
from kseg.nn.step_cost import voxels_of_a_step
from kseg.recipe.presets import levels_of, options_of
from kseg.recipe.sections import Evaluation, Recipe
from kseg.recipe.types import Normalisation, Section
from kseg.records.manifest import Manifest
from kseg.records.plan import MIN_BATCH, Plan, bytes_per_voxel, fit_batch, fit_patch
from kseg.records.training_plan import planned_augmentation, planned_flips, planned_rotation
from kseg.runs.oversized_patch import oversized_patch
from kseg.volumes.intensity_normalisation import Scale

ENOUGH_STEPS = 500
"""That a time-bound training is planned to make: beyond, a patch that sees more teaches more."""
LARGE_PATCH = 64**3
STEPS_OF_LARGE = 1000
"""The same where patches have more than `LARGE_PATCH` voxels: smaller ones, and more steps, teach more than these."""
MANY_STEPS = 2000
"""Of which each takes `MAX_BATCH` patches: where the time holds fewer, twice as many of half the patches teach more."""
TOO_FEW = 0.5
"""Share of these with which a plan is made anew, once its step has been measured."""
SHARE_OF_STEPS = 0.9
"""Of a time-bound training: the rest is validating."""
LEAST_PATCH = 32**3
"""Voxels."""
SAME_TIME = {"preset", "pooling", "skip", "norm", "norm_momentum", "negative_slope", "dropout"}
"""Keys of the section 'network' that change a step's time little: what is known of the preset's holds."""
FLIPPED_AXES = 1
"""Of those that training flips, how many prediction does: each doubles its time (docs/results.md has the gain)."""
UNBOUNDED = 1_000_000
"""Epochs of a run that its minutes bound."""

SectionType = TypeVar("SectionType", bound=Section)


def planned_recipe(recipe: Recipe, manifest: Manifest, step_seconds_per_voxel: float | None = None) -> Recipe:
    """Return the recipe with the plan's values for the keys that neither it nor its preset gives.

    `data.spacing_mm` is the dataset's (`kseg.records.preparation_keys`), where the recipe leaves it out, too.

    Args:
        recipe: as the user wrote it.
        manifest: of the dataset that it is trained on.
        step_seconds_per_voxel: measured seconds of a step by voxels of its patches; by default `kseg.nn.step_cost`'s.

    Raises:
        InputError: see `planned`.
    """
    plan = manifest.plan_for(recipe)
    plan = _within_the_time(recipe, plan, step_seconds_per_voxel)
    complete = planned(recipe, plan, options_of(recipe.network), manifest.channels, manifest.label_map.foreground_names)
    if oversized := oversized_patch(complete, manifest):
        say(f"note: {oversized}")
    data = complete.data.model_copy(update={"spacing_mm": manifest.spacing_mm})
    return complete.model_copy(update={"data": data})


def least_steps(recipe: Recipe, complete: Recipe) -> int:
    """Return how many steps a run's minutes must hold, where smaller patches can be planned for them; 0 where not.

    Args:
        recipe: as the user wrote it.
        complete: with the plan's values.
    """
    patches = complete.patches
    smallest = math.prod(patches.size) <= LEAST_PATCH and patches.batch_size <= MIN_BATCH
    if not recipe.train.max_minutes or "size" in recipe.patches.model_fields_set or smallest:
        return 0
    return round(TOO_FEW * ENOUGH_STEPS)


def as_begun(recipe: Recipe, begun: Recipe) -> Recipe:
    """Return the recipe of a run that is resumed: what the user does not give now is as it was when it began.

    So a run keeps what was planned for it, and what an earlier version of kseg took where the recipe said nothing.
    """
    changes: dict[str, Any] = {"name": recipe.name}  # of the folder, which may have been renamed
    for key in recipe.model_fields_set:
        now, before = getattr(recipe, key), getattr(begun, key)
        if isinstance(now, Section):
            now = before.model_copy(update={name: getattr(now, name) for name in now.model_fields_set})
        changes[key] = now
    return begun.model_copy(update=changes)


def planned(
    recipe: Recipe, plan: Plan, network: dict[str, Any], channels: Sequence[str], class_names: Sequence[str]
) -> Recipe:
    """Return the recipe with the plan's values for the keys that it does not give.

    Args:
        recipe: the recipe as the user wrote it.
        plan: of the dataset that it is trained on.
        network: arguments of the network that the preset and the recipe's section make: `filters`, `stem_stride`.
        channels: of the dataset.
        class_names: its foreground classes.

    Raises:
        InputError: `data.normalisation` does not fit the dataset.
    """
    given = recipe.patches.model_fields_set
    size = recipe.patches.size if "size" in given else plan.patch_size
    of_voxel = bytes_per_voxel(len(class_names) + 1, recipe.network)
    own_batch = size != plan.patch_size
    patches: dict[str, Any] = {
        "size": size,
        "batch_size": fit_batch(size, recipe.data.memory_gb, of_voxel) if own_batch else plan.batch_size,
        "foreground_oversampling": plan.foreground_oversampling,
        "flip_axes": planned_flips(class_names),
    }
    rotation = {"rotation_degrees": planned_rotation(size, recipe.augmentation.rotation_degrees)}
    epochs = {"epochs": UNBOUNDED} if recipe.train.max_minutes else {}
    normalisation = recipe.data.normalisation or plan.normalisation
    if len(normalisation) != len(plan.normalisation):
        raise InputError(
            f"data.normalisation names {counted(len(normalisation), 'channel')}, '{recipe.data.records}' has "
            f"{len(plan.normalisation)}: give one word for each channel"
        )
    if "ct" in normalisation and not plan.foreground:
        raise InputError(f"data.normalisation: 'ct' needs foreground, and '{recipe.data.records}' has none")
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"normalisation": normalisation}),
            "patches": _completed(recipe.patches, patches),
            "augmentation": _completed(recipe.augmentation, {**planned_augmentation(channels), **rotation}),
            "train": _completed(recipe.train, epochs),
            "network": recipe.network.model_copy(update=_planned_pooling(recipe, plan, network)),
            "evaluation": planned_evaluation(recipe, class_names),
        }
    )


def planned_evaluation(recipe: Recipe, class_names: Sequence[str]) -> Evaluation:
    """Return how volumes are segmented by a run, as `recipe` says or the plan.

    Args:
        recipe: as the user wrote it.
        class_names: the dataset's foreground classes.
    """
    own = "flip_axes" in recipe.patches.model_fields_set
    flip_axes = recipe.patches.flip_axes if own else planned_flips(class_names)
    return _completed(recipe.evaluation, {"flip_axes": flip_axes[:FLIPPED_AXES]})


def scales_of(normalisation: Sequence[Normalisation], plan: Plan) -> tuple[Scale, ...]:
    """Return the scale of each channel; `"ct"` takes the dataset's statistics of the foreground."""
    return tuple(
        Scale(kind=kind, statistics=plan.foreground[number] if kind == "ct" else None)
        for number, kind in enumerate(normalisation)
    )


def _completed(section: SectionType, planned_values: Mapping[str, Any]) -> SectionType:
    left_open = planned_values.keys() - section.model_fields_set
    return section.model_copy(update={key: planned_values[key] for key in left_open})


def _within_the_time(recipe: Recipe, plan: Plan, step_seconds_per_voxel: float | None = None) -> Plan:
    """Return the plan, with smaller patches where so few steps would fit into the minutes that they teach little."""
    given, minutes = recipe.patches.model_fields_set, recipe.train.max_minutes
    batch = recipe.patches.batch_size if "batch_size" in given else plan.batch_size
    plan = plan.model_copy(update={"batch_size": batch})
    if not minutes or "size" in given:
        return plan
    seconds = 60 * minutes * SHARE_OF_STEPS / ENOUGH_STEPS
    if step_seconds_per_voxel is not None:
        most = seconds / step_seconds_per_voxel
    elif recipe.network.model_fields_set - SAME_TIME:
        return plan
    else:
        most = voxels_of_a_step(recipe.network.preset, recipe.train.precision, seconds)
    least = batch if "batch_size" in given else MIN_BATCH
    if batch > least and math.prod(plan.patch_size) * batch > most * ENOUGH_STEPS / MANY_STEPS:
        batch = least
    if math.prod(plan.patch_size) <= _largest_patch(most / batch):
        if batch < plan.batch_size:
            say(
                f"a step takes {batch} patches instead of the {plan.batch_size} planned: the time holds more steps then"
            )
        return plan.model_copy(update={"batch_size": batch})
    largest = max(_largest_patch(most / least), LEAST_PATCH)
    size, pooling = fit_patch(plan.patch_size, plan.target_spacing_mm, largest, levels_of(recipe.network))
    batch = max(least, min(batch, int(most // math.prod(size))))
    shown = [" x ".join(map(str, sizes)) for sizes in ((*plan.patch_size, plan.batch_size), (*size, batch))]
    say(
        f"patches of {shown[1]} instead of the {shown[0]} planned, so that the time holds more "
        "steps: train.max_minutes, or patches.size, choose others"
    )
    return plan.model_copy(update={"patch_size": size, "batch_size": batch, "pooling": pooling})


def _largest_patch(most: float) -> float:
    """Return how many voxels a patch may have, of which `ENOUGH_STEPS` hold as many as `most`."""
    return max(most * ENOUGH_STEPS / STEPS_OF_LARGE, min(LARGE_PATCH, most))


def _planned_pooling(recipe: Recipe, plan: Plan, network: dict[str, Any]) -> dict[str, Any]:
    """Changes to the section 'network': none where the recipe says itself how deep its network is and how it pools."""
    if recipe.network.model_fields_set & {"filters", "pooling", "stem_stride"}:
        return {}
    levels = len(network["filters"])
    has_stem = network.get("stem_stride", 1) != 1
    pools = [*plan.pooling, *[(1, 1, 1)] * (levels + 1)]
    return {"pooling": tuple(pools[has_stem : has_stem + levels])} | ({"stem_stride": pools[0]} if has_stem else {})
