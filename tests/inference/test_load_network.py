"""A Keras model compiles where that pays, and gives the same probabilities to rounding where it does not."""

import keras
import numpy as np
import pytest

from kseg.inference import load_network
from kseg.inference.ensemble import Predict
from kseg.inference.load_network import KerasNetwork
from kseg.nn import cpu_features
from kseg.nn.networks import build_network
from kseg.nn.segmentation_loss import SegmentationLoss
from kseg.nn.segmenter import Segmenter

PATCH = (1, 16, 12, 20, 1)


@pytest.fixture
def model() -> Segmenter:
    keras.utils.set_random_seed(1)
    network = build_network("midl2021", num_classes=3, filters=(4, 8), dilation_rates=(1, 2), skip="add")
    return Segmenter(network, SegmentationLoss(), ["one", "two"])


def compiled_calls(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many patches the model itself is asked, at each call from now on."""
    asked: list[int] = []
    own: Predict = model.predict_on_batch

    def counted(patches: np.ndarray) -> np.ndarray:
        asked.append(len(patches))
        return own(patches)

    monkeypatch.setattr(model, "predict_on_batch", counted)
    return asked


def test_probabilities_are_the_same_to_rounding(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compiled_calls(model, monkeypatch)
    network, patches = KerasNetwork(model), np.random.default_rng(0).normal(size=PATCH).astype(np.float32)
    compiled = network(patches)
    assert asked == [1], "who says nothing of what is to come gets the compiled model"
    network.expect(patches.size)
    plain = network(patches)
    assert asked == [1]
    assert compiled.std(axis=(0, 1, 2, 3)).min() > 1e-3
    np.testing.assert_allclose(plain, compiled, atol=2e-6)


def test_scans_of_many_voxels_are_worth_compiling_whatever_came_before(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_network, "COMPILED_FROM", 1000)
    asked, patches = compiled_calls(model, monkeypatch), np.zeros(PATCH, np.float32)
    network = KerasNetwork(model)
    for expected, compiled in ((600, False), (999, False), (1000, True), (600, False), (5000, True)):
        network.expect(expected)
        asked.clear()
        network(patches)
        assert asked == [1] * compiled


def test_on_a_gpu_the_model_itself_is_asked(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "on_tensorflows_cpu", lambda: False)
    asked, network = compiled_calls(model, monkeypatch), KerasNetwork(model)
    network.expect(1)
    network(np.zeros(PATCH, np.float32))
    assert asked == [1]
