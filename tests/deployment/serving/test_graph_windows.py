"""Windows as a graph: where they lie, how they are blended, over what they are averaged."""

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.serving.graph_windows import (
    PredictPatches,
    blend_shares,
    mean_over_flips_and_members,
    sweep,
    window_starts,
)
from kseg.inference.ensemble import Predict, ensemble_of
from kseg.inference.sliding_window import blend_shares as blend_shares_of_numpy
from kseg.inference.sliding_window import probability_planes
from kseg.inference.windows import window_starts as window_starts_of_python

PATCH = (8, 9, 10)
CLASSES = 3


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.7])
def test_tiles_lie_where_python_puts_them(overlap: float) -> None:
    lengths, patches = np.meshgrid(np.arange(1, 260, 3), (1, 2, 7, 16, 40, 96))
    pairs = np.stack([lengths.ravel(), patches.ravel()], 1).astype(np.int32)
    for patch in np.unique(pairs[:, 1]):
        # The patch is a constant, as in a served model, where the optimiser may rewrite what is computed with it.
        graph = tf.function(lambda length, patch=int(patch): window_starts(length, patch, overlap), autograph=False)
        for length in pairs[pairs[:, 1] == patch, 0]:
            expected = window_starts_of_python(int(length), int(patch), overlap)
            assert graph(tf.constant(length)).numpy().tolist() == expected, (length, patch)


@pytest.mark.parametrize(("length", "patch"), [(50, 16), (9, 16), (16, 16), (101, 40)])
def test_shares_are_those_of_numpy(length: int, patch: int) -> None:
    expected = np.stack(list(blend_shares_of_numpy(length, patch, 0.5).values()))
    np.testing.assert_allclose(blend_shares(length, patch, window_starts(length, patch, 0.5)), expected, rtol=1e-6)


def of_graph(slope: float) -> PredictPatches:
    """Three classes that depend on a voxel, and on how much lies before it in the patch along x and z."""

    def predict(patches: tf.Tensor) -> tf.Tensor:
        first, second = patches[..., :1], patches[..., 1:]
        before = tf.cumsum(first, axis=1) + 2 * tf.cumsum(second, axis=3)
        return tf.nn.softmax(tf.concat([first * slope, before / 5, second - 0.5], -1))

    return predict


def of_numpy(slope: float) -> Predict:
    return lambda patches: of_graph(slope)(patches).numpy()


@pytest.mark.parametrize("shape", [(20, 13, 11), (13, 23, 11), (9, 10, 31), (6, 5, 4), (6, 21, 4)])
@pytest.mark.parametrize(("slopes", "flip_axes"), [((1.0,), ()), ((1.0, -2.0), ("x", "z"))])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_probabilities_are_those_of_the_sliding_window(
    shape: tuple[int, ...], slopes: tuple[float, ...], flip_axes: tuple[str, ...], batch_size: int
) -> None:
    volume = np.random.default_rng(2).normal(size=(*shape, 2)).astype(np.float32)
    expected = np.empty((*shape, CLASSES), np.float32)
    predict = ensemble_of([of_numpy(slope) for slope in slopes], flip_axes, compared=True)
    for box, plane in probability_planes(
        predict, volume, PATCH, CLASSES, normalise=lambda window: window + 1, buffer_bytes=10**9
    ):
        expected[box] = plane

    largest = tf.Variable(0)

    def counted(slope: float) -> PredictPatches:
        def predict(patches: tf.Tensor) -> tf.Tensor:
            largest.assign(tf.maximum(largest, tf.shape(patches)[0]))
            return of_graph(slope)(patches)

        return predict

    served = mean_over_flips_and_members([counted(slope) for slope in slopes], flip_axes)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 2], tf.float32)])
    def graph(volume: tf.Tensor) -> tf.Tensor:
        return sweep(
            served,
            volume,
            PATCH,
            CLASSES,
            overlap=0.5,
            batch_size=batch_size,
            normalise=lambda window: window + 1,
            finish=tf.identity,
            dtype=tf.float32,
        )

    assert expected.std(axis=(0, 1, 2)).min() > 0.05
    np.testing.assert_allclose(graph(tf.constant(volume)), expected, atol=2e-6)
    counts = [len(window_starts_of_python(*axis, 0.5)) for axis in zip(shape, PATCH, strict=True)]
    assert largest.numpy() == min(batch_size, np.prod(np.delete(counts, np.argmax(shape))))
