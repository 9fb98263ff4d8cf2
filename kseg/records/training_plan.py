"""What the names of a dataset's channels and classes say about training: how patches are flipped and changed.

Like the plan (`kseg.records.plan`), proposals where the recipe says nothing. They need no measurement, and so are made
anew from any manifest.
"""

import re
from collections.abc import Sequence

import numpy as np

from kseg.recipe.types import Axis
from kseg.records.modality import is_ultrasound

SIDES = re.compile(
    r"(?<![a-z0-9])(left|right|medial|lateral|sinist|dext|links|rechts|gauche|droit|izquierd|derech"
    r"|(l|r|lt|rt|lh|rh|med|lat|dx|sin)(?![a-z0-9]))"
)
"""Words, and their usual short forms, in the name of a class that has a counterpart across the body."""
PAIRS = ({"gm", "gl"}, {"mg", "lg"}, {"vm", "vl"})
"""Short forms of the medial and the lateral gastrocnemius and vastus, which mean a side where both are classes."""

FLAT = 3
"""A patch is flat whose other axes have more than so many times its thickness, in voxels."""
ANY_MODALITY = {"affine": 0.5, "gamma": 0.3, "noise": 0.2}
ULTRASOUND = {"affine": 0.5, "gamma": 0.2, "speckle": 0.2, "depth_gain": 0.2}
"""Probabilities (`kseg.recipe.augmentation`): those of pipelines/hippocampus.toml, and for ultrasound what differs
between its devices, without what takes long or needs the direction of the beam to be known well."""


def planned_flips(class_names: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes along which patches are flipped: x, unless a class is named after a side of the body.

    A mirrored body is one that could be. But where "left" and "right", or the medial and the lateral head of a muscle,
    are classes, its labels would be wrong, or could be told from the other limb's only.
    """
    return () if sided(class_names) else ("x",)


def sided(class_names: Sequence[str]) -> list[str]:
    """Return the names that tell sides apart: "kidney_left", "FemurR", "GM" beside "GL"; not "liver"."""
    apart = [
        re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\b[LR])(?=[A-Z][a-z])", "_", name.replace("_", " ")).casefold()
        for name in class_names
    ]
    paired = set().union(*(pair for pair in PAIRS if pair <= {*apart}))
    return [name for name, words in zip(class_names, apart, strict=True) if SIDES.search(words) or words in paired]


def planned_rotation(patch_size: Sequence[int], degrees: Sequence[float]) -> tuple[float, float, float]:
    """Return the greatest angles about x, y, z, of `degrees`; flat patches turn in their plane alone.

    Turned out of it, much of a patch would be what lies beyond the first and the last slice (nnU-Net, too, augments
    in the plane where patches are more than three times as wide as they are thick).
    """
    thinnest = int(np.argmin(patch_size))
    is_flat = min(np.delete(patch_size, thinnest)) > FLAT * patch_size[thinnest]
    x, y, z = (0.0 if is_flat and axis != thinnest else angle for axis, angle in enumerate(degrees))
    return x, y, z


def planned_augmentation(channels: Sequence[str]) -> dict[str, float]:
    """Return the probability of each transform; where all channels are named as ultrasound, its own."""
    return ULTRASOUND if all(map(is_ultrasound, channels)) else ANY_MODALITY
