"""Recipes of networks and trainings that take seconds, as text that a user writes."""

from typing import Any

import tomli_w

SMALL: dict[str, dict[str, Any]] = {
    "patches": {"size": [16, 16, 16], "batch_size": 2},
    "network": {"filters": [2], "dilation_rates": [1]},
    "train": {"epochs": 2, "steps_per_epoch": 2, "validation_patches": 2},
}


def recipe_text(name: str, **sections: dict[str, Any]) -> str:
    """A recipe of a small training, whose keys are those of SMALL and the given ones, which come first."""
    merged = {section: SMALL.get(section, {}) | sections.get(section, {}) for section in {**SMALL, **sections}}
    return tomli_w.dumps({"name": name, **merged})
