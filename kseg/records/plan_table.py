"""The plan as a table on the terminal, beside what the recipe says otherwise."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from rich.table import Table

from kseg.console.text import counted
from kseg.recipe.augmentation import PROBABILITIES, Augmentation
from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest
from kseg.records.training_plan import planned_augmentation, planned_flips, planned_rotation, sided


def class_table(manifest: Manifest) -> Table:
    """What was measured of each foreground class: medians over the cases that have it."""
    table = Table(title=f"Measured in {counted(len(manifest.cases), 'case')} (medians where the class is there)")
    table.add_column("class")
    for heading in ("cases", "share of voxels", "pieces", "largest piece"):
        table.add_column(heading, justify="right")
    for index, name in enumerate(list(manifest.labels)[1:]):
        having = [case for case in manifest.cases if case.class_voxels[index + 1]]
        whole = [case for case in having if not case.partly_labelled]  # of others each slice would be a piece
        cells = [
            f"{_median(case.class_voxels[index + 1] / sum(case.class_voxels) for case in having):.2%}",
            f"{_median(case.components[index] for case in whole):g}" if whole else "-",
            f"{_median(case.largest_component[index] for case in whole):.0%}" if whole else "-",
        ]
        table.add_row(name, str(len(having)), *(cells if having else ["-"] * 3))
    return table


def plan_table(manifest: Manifest, recipe: Recipe) -> Table:
    """The plan's values, and the recipe's where it overrides them."""
    plan = manifest.plan_for(recipe)
    class_names = manifest.label_map.foreground_names
    table = Table(title="Plan")
    for heading in ("", "planned", "the recipe's own"):
        table.add_column(heading)
    patches, network = recipe.patches.model_dump(exclude_unset=True), recipe.network.model_dump(exclude_unset=True)
    augmentation = recipe.augmentation.model_dump(exclude_unset=True)
    own_augmentation = {key: augmentation[key] for key in sorted(augmentation) if key in PROBABILITIES}
    rows = {
        "patches.size": (plan.patch_size, patches.get("size")),
        "patches.batch_size": (plan.batch_size, patches.get("batch_size")),
        "patches.foreground_oversampling": (
            _on_foreground(plan.foreground_oversampling),
            _on_foreground(patches.get("foreground_oversampling")),
        ),
        "patches.flip_axes": (_flips(class_names), _listed(patches.get("flip_axes"))),
        "augmentation": (_shares(planned_augmentation(manifest.channels)), _shares(own_augmentation) or None),
        "augmentation.rotation_degrees": (
            planned_rotation(patches.get("size", plan.patch_size), Augmentation().rotation_degrees),
            augmentation.get("rotation_degrees"),
        ),
        "network.pooling": (plan.pooling, network.get("pooling") or (network.get("filters") and "with filters")),
        "data.normalisation": (plan.normalisation, recipe.data.normalisation),
        "voxel size, mm (typical)": (plan.target_spacing_mm, None),
        "training step, s (rough, 2 CPU cores)": (plan.step_seconds, None),
    }
    for name, (value, own) in rows.items():
        table.add_row(name, _text(value), "" if own is None else _text(own))
    return table


def _flips(class_names: Sequence[str]) -> str:
    names = sided(class_names)
    why = f" ('{names[0]}' names a side)" if names else ""
    return f"{_listed(planned_flips(class_names))}{why}"


def _listed(axes: Sequence[str] | None) -> str | None:
    return None if axes is None else ", ".join(axes) or "none"


def _on_foreground(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%} of the patches centred on foreground"


def _shares(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in probabilities.items())


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return median(found) if found else math.nan


def _text(value: object) -> str:
    """`(48, 64, 48)` becomes `48 x 64 x 48`, levels of pooling are set apart by commas."""
    if not isinstance(value, tuple):
        return str(value)
    if value and isinstance(value[0], tuple):
        return ", ".join("x".join(map(str, level)) for level in value)
    return (", " if value and isinstance(value[0], str) else " x ").join(map(str, value))
