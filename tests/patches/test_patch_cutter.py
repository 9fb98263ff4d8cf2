"""Whole patches: image and labels stay on each other, real voxels fill the corners, validation is left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.augmentation.chain import TRANSFORMS
from kseg.patches.patch_cutter import PatchCutter
from kseg.patches.patch_source import PatchSource
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.sections import Patches
from kseg.records.manifest import load_manifest

Parsed = Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]
SIZE = (24, 28, 20)
WARPED = Augmentation(
    affine=1.0,
    rotation_degrees=(40, 40, 40),
    scaling=(0.7, 1.4),
    elastic=1.0,
    elastic_spacing=12,
    elastic_displacement=4,
)


def cut(
    example: dict[str, Any], seed: int, augmentation: Augmentation | None, channels: int = 1, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    cutter = PatchCutter(Patches(size=SIZE, **options), augmentation, channels, "uint8")
    image, labels = cutter(example | {"spacing_mm": tf.constant([1.0, 1.0, 2.0])}, tf.constant([5, seed], tf.int64))
    return image.numpy(), labels.numpy()


def without_normalisation(example: dict[str, Any], channels: int = 1) -> dict[str, Any]:
    return example | {"statistics": tf.constant([[-1e6, 1e6, 0, 1]] * channels, tf.float32)}


def centre_of_mass(weights: np.ndarray) -> np.ndarray:
    return np.array([np.sum(axis * weights) for axis in np.indices(weights.shape)]) / weights.sum()


@pytest.fixture
def landmarks(parsed: Parsed) -> dict[str, Any]:
    """Balls of classes 1 to 4 in a channel each, where nothing else is."""
    shape = (70, 74, 66)
    place, labels = np.indices(shape), np.zeros(shape, np.uint8)
    image = np.zeros((*shape, 4), np.float32)
    for number, centre in enumerate([(30, 32, 30), (40, 42, 34), (32, 42, 36), (38, 32, 34)]):
        ball = np.linalg.norm(place - np.reshape(centre, (3, 1, 1, 1)), axis=0) <= 3
        labels[ball], image[ball, number] = number + 1, 1
    return without_normalisation(parsed(image, labels, 5), 4)


@pytest.mark.parametrize("augmentation", [WARPED, WARPED.model_copy(update={"elastic": 0.0})], ids=["both", "affine"])
def test_landmarks_of_the_image_stay_on_their_labels(landmarks: dict[str, Any], augmentation: Augmentation) -> None:
    seen, moved = 0, []
    for seed in range(20):
        options: dict[str, Any] = {"foreground_oversampling": 1.0}
        image, labels = cut(landmarks, seed, augmentation, 4, flip_axes=("x", "y", "z"), **options)
        _, before = cut(landmarks, seed, None, 4, **options)
        for number in range(4):
            ball, label = image[..., number], labels == number + 1
            border = ball.sum() - ball[1:-1, 1:-1, 1:-1].sum() + label.sum() - label[1:-1, 1:-1, 1:-1].sum()
            if label.any() and border == 0:
                seen += 1
                assert np.linalg.norm(centre_of_mass(ball) - centre_of_mass(label)) < 0.5
                if (before == number + 1).any():
                    moved.append(np.linalg.norm(centre_of_mass(label) - centre_of_mass(before == number + 1)))
    assert seen >= 20
    assert np.median(moved) > 1  # the warp is not nothing


def test_a_warped_patch_shows_real_voxels_up_to_its_corners_and_nothing_beyond_the_volume(parsed: Parsed) -> None:
    # Channels are a voxel's own coordinates, above 100: linear reading returns exactly where a voxel comes from.
    shape = np.array((100, 104, 60))
    image = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32) + 100

    def around(voxel: tuple[int, int, int], seed: int) -> np.ndarray:
        labels = np.zeros(shape, np.uint8)
        labels[voxel] = 1
        example = without_normalisation(parsed(image, labels, 2), 3)
        return cut(example, seed, WARPED, 3, foreground_oversampling=1.0)[0]

    middle, corner, half = (50, 52, 30), (3, 99, 30), np.array(SIZE) // 2
    moved = np.clip(corner - half, 0, shape - SIZE) + half  # inwards, until the patch lies inside
    for seed in range(4):
        found = around(middle, seed)
        assert found.min() >= 100  # all of it real, though a turned patch reaches beyond its box
        assert np.any(np.ptp(found, axis=(0, 1, 2)) > SIZE)
        there = found - 100 - middle + moved
        inside = np.all((there >= 0) & (there <= shape - 1), axis=-1)
        beyond = np.any((there <= -1) | (there >= shape), axis=-1)
        assert beyond.any()
        at_corner = around(corner, seed)
        np.testing.assert_allclose(at_corner[inside] - 100, there[inside], atol=1e-3)
        assert not at_corner[beyond].any()


def test_a_warp_that_changes_nothing_is_a_plain_cut(landmarks: dict[str, Any]) -> None:
    still = Augmentation(
        affine=1.0, rotation_degrees=(0, 0, 0), scaling=(1, 1), stretch=1, elastic=1.0, elastic_displacement=0
    )
    for seed in range(4):
        for warped, plain in zip(cut(landmarks, seed, still, 4), cut(landmarks, seed, None, 4), strict=True):
            np.testing.assert_array_equal(warped, plain)


ALL = Augmentation(**dict.fromkeys(TRANSFORMS, 0.5))


def source(folder: Path, split: str, augmentation: Augmentation, **options: Any) -> PatchSource:
    patches = Patches(size=(16, 12, 16), batch_size=2, **options)
    return PatchSource(folder, load_manifest(folder), split, patches, 1, augmentation=augmentation)


def batches(patches: PatchSource, epochs: range) -> list[np.ndarray]:
    return [part.numpy() for batch in patches.batches(range(epochs.start * 3, epochs.stop * 3)) for part in batch]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("split", ["val", "test"])
def test_patches_to_validate_on_are_never_changed_whatever_the_recipe_says(split: str, tiny_dataset: Path) -> None:
    changed = batches(source(tiny_dataset, split, ALL, flip_axes=("x", "y", "z")), range(1))
    assert equal(changed, batches(source(tiny_dataset, split, Augmentation()), range(1)))


def test_augmented_epochs_are_the_same_from_wherever_a_run_resumes(tiny_dataset: Path) -> None:
    some = Augmentation(affine=0.5, elastic=0.5, gamma=0.5, noise=0.5)
    patches = source(tiny_dataset, "train", some)
    undisturbed = batches(patches, range(3))
    assert equal(batches(patches, range(1, 3)), undisturbed[3 * 2 :])
    assert not equal(batches(source(tiny_dataset, "train", Augmentation()), range(3)), undisturbed)
