"""Statistics as a graph beside `intensity_statistics`: the same numbers."""

import numpy as np
import pytest
import tensorflow as tf

from kseg.deployment.serving import graph_statistics
from kseg.volumes import intensity_normalisation
from kseg.volumes.intensity_normalisation import intensity_statistics

SHAPE = (7, 9, 8, 2)
WAYS = pytest.mark.parametrize("at_once", [2 * 9 * 8, graph_statistics.AT_ONCE], ids=["counted", "sorted"])


def drawn(dtype: type) -> np.ndarray:
    """Two channels over much of the type's range, the second flat but for its ends."""
    rng = np.random.default_rng(3)
    if dtype == np.float32:
        image = rng.normal(40, 300, SHAPE).astype(dtype)
    else:
        image = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, SHAPE, dtype, endpoint=True)
    image[..., 1] = 17
    image[0, 0, 0, 1], image[-1, -1, -1, 1] = 0, 99
    return image


def of_graph(image: np.ndarray) -> np.ndarray:
    spec = tf.TensorSpec([None, None, None, image.shape[3]], image.dtype)
    graph = tf.function(graph_statistics.graph_statistics, autograph=False, input_signature=[spec])
    return np.asarray(graph(tf.constant(image)))


@pytest.mark.parametrize("at_once", [1, 2 * 9 * 8, graph_statistics.AT_ONCE])  # slabs of one plane, of two, the whole
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_statistics_are_those_of_numpy_to_the_last_bit(
    dtype: type, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_statistics, "AT_ONCE", at_once)
    image = drawn(dtype)
    np.testing.assert_array_equal(of_graph(image), intensity_statistics(image))
    assert of_graph(image)[1].tolist() == [17, 17, 17, 1]


@WAYS
@pytest.mark.parametrize("scale", [-1e-30, -1.0, 1e30])
def test_floats_are_in_the_order_of_numbers(scale: float, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_statistics, "AT_ONCE", at_once)
    image = (np.random.default_rng(0).gamma(2, 30, (7, 9, 8, 1)) * scale).astype(np.float32)
    np.testing.assert_array_equal(of_graph(image)[:, :2], intensity_statistics(image)[:, :2])


@WAYS
def test_of_many_floats_the_same_sample_stands_for_all(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawn(np.float32)
    whole = of_graph(image)
    monkeypatch.setattr(graph_statistics, "AT_ONCE", at_once)
    for module in (graph_statistics, intensity_normalisation):
        monkeypatch.setattr(module, "MAX_SAMPLE_VOXELS", 100)
    sampled = of_graph(image)
    np.testing.assert_array_equal(sampled, intensity_statistics(image))
    assert (sampled != whole).any()
    counted = drawn(np.int16)  # integers are counted, however many there are
    np.testing.assert_array_equal(of_graph(counted), intensity_statistics(counted))


@WAYS
@pytest.mark.parametrize("voxels", [1, 2, 3, 200])
def test_volumes_of_few_voxels(voxels: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_statistics, "AT_ONCE", at_once // 144)
    image = np.random.default_rng(voxels).normal(size=(voxels, 1, 1, 1)).astype(np.float32)
    np.testing.assert_array_equal(of_graph(image), intensity_statistics(image))


@WAYS
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample", [2**24, 3])
def test_voxels_that_are_no_numbers_are_refused_whether_they_are_in_the_sample_or_not(
    sample: int, broken: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_statistics, "AT_ONCE", at_once)
    image = drawn(np.float32)
    image[3, 2, 1, 0] = broken
    monkeypatch.setattr(graph_statistics, "MAX_SAMPLE_VOXELS", sample)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`voxels` must be finite"):
        of_graph(image)
