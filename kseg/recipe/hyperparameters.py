"""A recipe as TensorBoard's HParams page takes it: one flat table of what shapes a training."""

import json
from typing import Any

from kseg.recipe.sections import Recipe

SECTIONS = ("patches", "augmentation", "network", "loss", "train")


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """Return the seed and the keys of the sections that shape a training.

    Lists are text, such as `[16, 16, 16]`. A key that is left to the preset is `preset`, and text where it is not: one
    column, one type.
    """
    found: dict[str, Any] = {"seed": recipe.seed}
    for name in SECTIONS:
        section = getattr(recipe, name)
        for key, value in section.model_dump(mode="json").items():
            optional = type(section).model_fields[key].default is None
            plain = not optional and isinstance(value, bool | int | float | str)
            found[f"{name}.{key}"] = value if plain else _text(value)
    return found


def _text(value: Any) -> str:
    """A value without the quotation marks that JSON has."""
    return "preset" if value is None else json.dumps(value, ensure_ascii=False).replace('"', "")
