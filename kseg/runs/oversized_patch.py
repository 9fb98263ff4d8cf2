"""A patch that reaches beyond every volume: allowed, since volumes are filled up, but most of it teaches nothing."""

import math

import numpy as np

from kseg.recipe.sections import Recipe
from kseg.recipe.toml_values import toml_value
from kseg.records.manifest import Manifest


def oversized_patch(recipe: Recipe, manifest: Manifest) -> str:
    """Return what is to be said of `patches.size`; empty where it holds no more than whole volumes.

    A patch may be larger than a volume by what pooling takes to divide it, as the plan's own is.
    """
    size = np.array(recipe.patches.size)
    largest = np.max([case.shape for case in manifest.cases], axis=0)
    pooling = manifest.plan_for(recipe).pooling
    multiples = np.prod(pooling, axis=0, dtype=int) if pooling else np.ones(3, int)
    whole = -(-largest // multiples) * multiples
    if (size <= whole).all():
        return ""
    filled = math.prod(np.minimum(size, largest).tolist()) / math.prod(size.tolist())
    voxels, enough = " x ".join(map(str, largest.tolist())), toml_value(np.minimum(size, whole).tolist())
    return (
        f"patches.size = {toml_value(size.tolist())} reaches beyond all volumes of '{recipe.data.records}', which have "
        f"{voxels} voxels at most: {1 - filled:.0%} or more of each patch is empty, takes as much time and memory as "
        f"the rest, and teaches nothing; patches.size={enough} holds as much"
    )
