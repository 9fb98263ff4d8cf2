"""A recipe with the plan's values where it says nothing, and the scales of the channels that follow from both."""

from collections.abc import Sequence
from typing import Any

from kseg.console.errors import InputError
from kseg.nn.networks import PRESETS
from kseg.recipe.sections import Recipe
from kseg.recipe.types import Normalisation
from kseg.records.manifest import Manifest
from kseg.records.plan import Plan, fit_batch
from kseg.volumes.intensity_normalisation import Scale


def planned_recipe(recipe: Recipe, manifest: Manifest) -> Recipe:
    """Return the recipe with the plan's values for the keys that neither it nor its preset gives.

    `data.spacing_mm` is the dataset's (`kseg.records.preparation_keys`), where the recipe leaves it out, too.

    Raises:
        InputError: see `planned`.
    """
    complete = planned(recipe, manifest.plan, PRESETS[recipe.network.preset] | recipe.network.overrides())
    data = complete.data.model_copy(update={"spacing_mm": manifest.spacing_mm})
    return complete.model_copy(update={"data": data})


def planned(recipe: Recipe, plan: Plan, network: dict[str, Any]) -> Recipe:
    """Return the recipe with the plan's values for the keys that it does not give.

    Args:
        recipe: the recipe as the user wrote it.
        plan: of the dataset that it is trained on.
        network: arguments of the network that the preset and the recipe's section make: `filters`, `stem_stride`.

    Raises:
        InputError: `data.normalisation` does not fit the dataset.
    """
    given = recipe.patches.model_fields_set
    size = recipe.patches.size if "size" in given else plan.patch_size
    patches: dict[str, Any] = {
        "size": size,
        "batch_size": fit_batch(size, recipe.data.memory_gb),
        "foreground_oversampling": plan.foreground_oversampling,
    }
    normalisation = recipe.data.normalisation or plan.normalisation
    if len(normalisation) != len(plan.normalisation):
        raise InputError(
            f"data.normalisation names {len(normalisation)} channels, '{recipe.data.records}' has "
            f"{len(plan.normalisation)}: give one word for each channel"
        )
    if "ct" in normalisation and not plan.foreground:
        raise InputError(f"data.normalisation: 'ct' needs foreground, and '{recipe.data.records}' has none")
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"normalisation": normalisation}),
            "patches": recipe.patches.model_copy(update={k: v for k, v in patches.items() if k not in given}),
            "network": recipe.network.model_copy(update=_planned_pooling(recipe, plan, network)),
        }
    )


def scales_of(normalisation: Sequence[Normalisation], plan: Plan) -> tuple[Scale, ...]:
    """Return the scale of each channel; `"ct"` takes the dataset's statistics of the foreground."""
    return tuple(
        Scale(kind=kind, statistics=plan.foreground[number] if kind == "ct" else None)
        for number, kind in enumerate(normalisation)
    )


def _planned_pooling(recipe: Recipe, plan: Plan, network: dict[str, Any]) -> dict[str, Any]:
    """Changes to the section 'network': none where the recipe says itself how deep its network is and how it pools."""
    if recipe.network.model_fields_set & {"filters", "pooling", "stem_stride"}:
        return {}
    levels = len(network["filters"])
    has_stem = network.get("stem_stride", 1) != 1
    pools = [*plan.pooling, *[(1, 1, 1)] * (levels + 1)]
    return {"pooling": tuple(pools[has_stem : has_stem + levels])} | ({"stem_stride": pools[0]} if has_stem else {})
