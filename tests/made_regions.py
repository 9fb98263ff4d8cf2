"""A dataset of three regions within each other, in nnU-Net's layout: balls in balls, brighter inwards."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (24, 20, 22)
RADII = (8, 5, 3)
"""Voxels, of the whole, the core and the enhancing part."""
VALUES = (1, 3, 2)
"""Of what is in the whole alone, in the core too, in all three: as in KiTS, the innermost is not the highest."""
LABELS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 2}
NESTED = ((1, 2, 3), (2, 3), (2,))
IGNORE = 9


def ball(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label map: three balls within each other, brighter inwards, with some noise."""
    rng = np.random.default_rng(seed)
    centre = np.array(SHAPE) / 2 + rng.uniform(-2, 2, 3)
    away = np.linalg.norm(np.indices(SHAPE).T - centre, axis=-1).T
    labels, image = np.zeros(SHAPE, np.uint8), rng.normal(100, 4, SHAPE)
    for value, radius in zip(VALUES, RADII, strict=True):
        labels[away < radius] = value
        image[away < radius] += 50
    return image.astype(np.int16), labels


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.2, 1.5, 1.0])), path)


def write(folder: Path, labels: dict, partly: bool = False) -> None:
    """Write ten cases, two of them to test, as nnU-Net has them."""
    for number in range(10):
        image, truth = ball(number)
        if partly:
            truth[..., 1::3] = IGNORE
        part = "Ts" if number >= 8 else "Tr"
        save(folder / f"images{part}" / f"case{number}_0000.nii.gz", image)
        save(folder / f"labels{part}" / f"case{number}.nii.gz", truth)
    described = {
        "channel_names": {"0": "T1"},
        "labels": labels | ({"ignore": IGNORE} if partly else {}),
        "regions_class_order": list(VALUES),
        "numTraining": 8,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
