"""Patches cut from bytes against the same cut in NumPy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg.patches.crop import crop
from kseg.patches.shards import grid_of, read_brick_labels
from kseg.records.schema import DTYPES
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.labels import index_dtype

Parsed = Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]
SHAPE = (7, 6, 5)


@pytest.fixture(params=[64, 3], ids=["one brick", "bricks of 3"])
def edge(request: pytest.FixtureRequest) -> int:
    return request.param


def volume(dtype: str, channels: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    low, high = (0, 250) if np.dtype(dtype).kind == "u" else (-120, 120)
    return rng.integers(low, high, (*SHAPE, channels)).astype(dtype), rng.integers(0, classes, SHAPE)


def reference(voxels: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Voxel by voxel: what is outside of the volume is 0."""
    patch = np.zeros((*size, *voxels.shape[3:]), voxels.dtype)
    for place in np.ndindex(*size):
        there = np.add(start, place)
        if np.all(there >= 0) and np.all(there < voxels.shape[:3]):
            patch[place] = voxels[tuple(there)]
    return patch


CUTS = [
    ((0, 0, 0), (3, 3, 3)),
    ((4, 3, 2), (3, 3, 3)),
    ((2, 1, 0), (4, 2, 5)),
    ((-1, 3, 2), (3, 4, 2)),
    ((5, -2, 4), (4, 3, 4)),
    ((-2, -3, -4), (12, 12, 12)),
    ((6, 5, 4), (1, 1, 1)),
    ((-3, 0, 0), (3, 2, 2)),
    ((7, 0, 0), (3, 2, 2)),
    ((-50, 90, 2), (3, 2, 2)),
]


@pytest.mark.parametrize(("start", "size"), CUTS)
def test_a_patch_is_numpys_inside_across_and_beyond_the_border(
    start: tuple[int, int, int], size: tuple[int, int, int], parsed: Parsed
) -> None:
    image, labels = volume("int16", 2, 3)
    found_image, found_labels = crop(parsed(image, labels, 3), tf.constant(start, tf.int64), size, 2, "uint8")
    normalised = normalise(image.astype(np.float32), intensity_statistics(image))
    np.testing.assert_allclose(found_image, reference(normalised, start, size), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found_labels, reference(labels, start, size))


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 300)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_cut_alike(dtype: str, channels: int, classes: int, parsed: Parsed) -> None:
    image, labels = volume(dtype, channels, classes)
    example, start, size = parsed(image, labels, classes), (3, -1, 2), (3, 4, 5)
    name = index_dtype(classes).name
    found_image, found_labels = crop(example, tf.constant(start, tf.int64), size, channels, name)
    normalised = normalise(image.astype(np.float32), intensity_statistics(image))
    np.testing.assert_allclose(found_image, reference(normalised, start, size), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found_labels, reference(labels, start, size))


def test_the_labels_of_a_brick_are_those_there(parsed: Parsed) -> None:
    image, labels = volume("uint8", 1, 300)
    head = parsed(image, labels, 300)
    size, grid = head["brick_size"].numpy(), grid_of(head).numpy()
    filled_up = np.pad(labels, [(0, length) for length in size * grid - SHAPE])
    for number, place in enumerate(np.ndindex(*grid)):
        x, y, z = (slice(start, start + length) for start, length in zip(place * size, size, strict=True))
        found = read_brick_labels(head, tf.constant(number, tf.int64), "uint16")
        np.testing.assert_array_equal(found, filled_up[x, y, z])


def test_a_brick_of_another_place_is_noticed(parsed: Parsed) -> None:
    image, labels = volume("uint8", 1, 3)
    head = parsed(image, labels, 3)
    if tf.size(head["places"]) > 1:
        head["places"] = tf.roll(head["places"], 1, 0)
    else:
        head["case"] = tf.constant("another")
    with pytest.raises(tf.errors.InvalidArgumentError, match="another case or place"):
        crop(head, tf.constant((0, 0, 0), tf.int64), (2, 2, 2), 1, "uint8")
