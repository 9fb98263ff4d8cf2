"""Recipes of networks and trainings that take seconds, as text that a user writes."""

from typing import Any

import tomli_w

SMALL: dict[str, dict[str, Any]] = {
    "patches": {"size": [16, 16, 16], "batch_size": 2, "flip_axes": []},
    "augmentation": dict.fromkeys(("affine", "gamma", "noise", "speckle", "depth_gain"), 0.0),
    "network": {"preset": "midl2021", "filters": [2], "dilation_rates": [1]},
    "loss": {"parametric_tversky": 1.0},
    "train": {"epochs": 2, "steps_per_epoch": 2, "validation_patches": 2, "ema": 0.0, "precision": "float32"},
}
"""As little as can be, with learned penalties; what it takes away from the defaults is tested with these."""


def recipe_text(name: str, **sections: dict[str, Any]) -> str:
    """A recipe of a small training, whose keys are those of SMALL and the given ones, which come first."""
    merged = {section: SMALL.get(section, {}) | sections.get(section, {}) for section in {**SMALL, **sections}}
    return tomli_w.dumps({"name": name, **merged})
