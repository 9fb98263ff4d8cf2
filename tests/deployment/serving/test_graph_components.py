"""Post-processing as a graph beside `postprocess`, which is tested against SciPy and SimpleITK."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from kseg.deployment.serving.graph_components import graph_postprocess
from kseg.inference.postprocessing import Operation, postprocess
from kseg.volumes.regions import Structures

OPERATIONS: list[tuple[Operation, ...]] = [("fill_holes", "largest_component"), ("largest_component",), ("fill_holes",)]
CLASSES = Structures(4)
SHAPES = [(19, 16, 22), (1, 9, 12), (21, 1, 9), (12, 15, 1), (1, 1, 1)]


@pytest.fixture(scope="module")
def graph() -> tf.types.experimental.GenericFunction:
    return graph_of(CLASSES)


def graph_of(structures: Structures) -> tf.types.experimental.GenericFunction:
    spec = tf.TensorSpec([None, None, None], tf.uint8)

    def function(labels: tf.Tensor) -> tf.Tensor:
        return graph_postprocess(labels, OPERATIONS, structures)

    return tf.function(function, autograph=False, input_signature=[spec])


def check(
    graph: tf.types.experimental.GenericFunction, labels: np.ndarray, structures: Structures = CLASSES
) -> np.ndarray:
    """Return labels after post-processing by both, which agree."""
    expected = labels.astype(np.uint8)
    postprocess(expected, OPERATIONS, structures)
    np.testing.assert_array_equal(graph(tf.constant(labels.astype(np.uint8))), expected)
    return expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.2, 0.45, 0.9])
def test_noise_of_three_classes_is_processed_as_by_numpy(graph, shape: tuple[int, ...], share: float) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    check(graph, rng.integers(1, 4, shape) * (rng.random(shape) < share))


@pytest.mark.parametrize("seed", range(4))
def test_lumps_with_holes_and_pieces_are_processed_as_by_numpy(graph, seed: int) -> None:  # type: ignore[no-untyped-def]
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 27, 25)), 1.3)
    lumps = np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8]))
    assert (check(graph, lumps) != lumps).sum() > 20


def test_a_path_that_winds_through_the_volume_is_one_component(graph) -> None:  # type: ignore[no-untyped-def]
    snake = np.zeros((21, 21, 21), np.uint8)
    snake[::2, ::2] = 1  # rows along z
    snake[::2, 1::4, -1], snake[::2, 3::4, 0] = 1, 1  # joined at their ends
    snake[1::4, -1, -1], snake[3::4, 0, 0] = 1, 1
    assert np.array_equal(check(graph, snake), snake)
    cut = snake.copy()
    cut[11, 0, 0] = 0  # after planes 0 to 10, the larger part
    assert check(graph, cut)[12:].sum() == 0


def test_of_components_of_one_size_the_first_stays(graph) -> None:  # type: ignore[no-untyped-def]
    labels = np.zeros((9, 3, 3), np.uint8)
    labels[1, 1, 1], labels[7, 2, 2], labels[4, 0, 0] = 2, 2, 2
    assert np.argwhere(check(graph, labels)).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    "regions",
    [
        Structures(4, regions=((1, 2, 3), (2, 3), (3,)), written=(1, 2, 3)),  # each within the one before
        Structures(4, regions=((1, 2, 3), (2,), (3,)), written=(1, 2, 3)),  # two beside each other
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_regions_are_processed_as_by_numpy(regions: Structures, seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 27, 25)), 1.3)
    lumps = np.digitize(noise, np.quantile(noise, [0.4, 0.6, 0.8]))
    shuffled = np.array([0, 1, 3, 2])[lumps]
    processed = graph_of(regions)
    for labels in (lumps, shuffled):
        assert (check(processed, labels, regions) != labels).sum() > 10
