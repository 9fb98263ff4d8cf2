"""The ONNX graph: on real patches it is the Keras network, and its dilated convolutions are dilated."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from small_networks import NETWORKS, SMALL, trained

from kseg import build_network
from kseg.deployment.onnx_graph import onnx_model
from kseg.nn.layers import OutputConv3D, Probabilities, SharedDilatedConv3D
from kseg.nn.networks import with_options
from kseg.simulation.phantom import phantom_volume, phantoms
from kseg.volumes.intensity_normalisation import intensity_statistics, normalise
from kseg.volumes.read import read_image

SCANS = Path(__file__).resolve().parents[3] / "shared" / "data" / "msd_hippocampus" / "imagesTr"
SIZE = (30, 40, 21)  # no multiple of what the networks pool by


@pytest.fixture(scope="module")
def patches():
    """Two normalised patches `(2, x, y, z, 1)`: of hippocampi, or of made-up legs where there are no real scans."""
    if SCANS.is_dir():
        volumes = [read_image([SCANS / f"hippocampus_00{number}.nii.gz"], "hippocampus").array for number in (1, 3)]
    else:
        # Legs larger than a patch: where a map is nearly constant, group norm magnifies the last digits of a float.
        volumes = [phantom_volume(leg)[0].array[..., np.newaxis] for _, _, leg in phantoms(2, (48, 48, 48))]
    normalised = [normalise(v.astype(np.float32), intensity_statistics(v)) for v in volumes]
    return np.stack([volume[tuple(map(slice, SIZE))] for volume in normalised]).astype(np.float32)


def run(model, patches):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"voxels": patches})[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_are_those_of_the_keras_network(name, patches):
    network = trained(*NETWORKS[name])
    keras_predict = with_options(network, implementation="direct").predict_on_batch
    expected = keras_predict(patches)
    assert expected.std(axis=(0, 1, 2, 3)).min() > 1e-3, "the network says the same everywhere: the test is too easy"
    for size, plain in ((None, False), (None, True), (SIZE, False), (SIZE, True)):
        np.testing.assert_allclose(run(onnx_model(network, size, plain=plain), patches), expected, atol=1e-4)
    divided = patches[:, :24, :24, :12]  # by all that pools, but that of five levels
    dynamic, fixed = (run(onnx_model(network, size), divided) for size in (None, divided.shape[1:4]))
    np.testing.assert_array_equal(dynamic, fixed)
    np.testing.assert_allclose(dynamic, keras_predict(divided), atol=1e-4)


def test_a_network_that_adds_by_a_layer_of_its_own_is_exported_as_before(patches):
    """So networks were built until their layers took a summand; runs of that time have them."""
    voxels = keras.Input((None, None, None, 1), name="voxels")
    first = SharedDilatedConv3D(2, dilation_rates=(1, 2), name="encoder_1")(voxels)
    second = SharedDilatedConv3D(2, dilation_rates=(1, 2), name="encoder_residual_1")(first)
    maps = OutputConv3D(3, 3, name="output")(keras.layers.Add(name="encoder_1_sum")([first, second]))
    network = keras.Model(voxels, Probabilities(name="probabilities")(maps))
    expected = with_options(network, implementation="direct").predict_on_batch(patches)
    np.testing.assert_allclose(run(onnx_model(network), patches), expected, atol=1e-4)


def test_a_graph_for_processors_stays_small_and_one_for_gpus_is_plain():
    network = build_network("midl2021")
    for size in (None, SIZE):
        nodes = onnx_model(network, size).graph.node
        assert len(nodes) < 5 * 170 + 300  # five decoder layers of 144 nodes, norms and activations; the rest
        assert not {"MatMul", "Resize", "ConvTranspose"} & {node.op_type for node in nodes}
    plain = onnx_model(network, SIZE, plain=True).graph.node
    assert len([node for node in plain if node.op_type == "Conv"]) == 10 * 4 + 1
    assert len(plain) < 120


def test_half_precision_is_in_weights_and_maps_and_not_at_the_ends(patches):
    network = trained("midl2021", SMALL | {"norm": "group"})
    model = onnx_model(network, SIZE, "float16", plain=True)
    kernels = [one for one in model.graph.initializer if one.name.endswith("/kernel")]
    assert {one.data_type for one in kernels} == {TensorProto.FLOAT16}
    probabilities = run(model, patches)
    assert probabilities.dtype == np.float32
    difference = np.abs(probabilities - network.predict_on_batch(patches)).max()
    assert 1e-6 < difference < 0.01


def test_a_branch_is_one_convolution_with_the_rate_as_its_dilation():
    network = trained("midl2021", {"filters": (2, 3), "dilation_rates": ((1, 4), (2, 3, 3))})
    model = onnx_model(network, (16, 16, 16), plain=True)
    dilations = {
        node.name: {attribute.name: list(attribute.ints) for attribute in node.attribute}["dilations"]
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    assert dilations == {
        f"{stage}_{level}/{branch}/convolved": [rate] * 3
        for stage in ("encoder", "decoder")
        for level, branch, rate in (
            (1, "rate_1", 1),
            (1, "rate_4", 4),
            (2, "rate_2", 2),
            (2, "branch_2", 3),
            (2, "branch_3", 3),
        )
    } | {"output/convolved": [1, 1, 1]}
    assert len(model.graph.node) == 33  # 11 convolutions, 10 activations, 4 joints, 8 others


def test_a_norm_with_moving_averages_is_part_of_its_convolution():
    # By hand: kernel x gain, and shift + (bias - mean) x gain; gain = 3 / sqrt(0.999 + 0.001) = 3.
    network = build_network("midl2021", filters=(1,), dilation_rates=(1,))
    layer = network.get_layer("encoder_1")
    kernel = np.arange(27, dtype=np.float32).reshape(3, 3, 3, 1, 1)
    layer.set_weights([kernel, *np.array([[0.5], [3.0], [7.0], [0.25], [0.999]], np.float32)])
    held = {one.name: numpy_helper.to_array(one) for one in onnx_model(network).graph.initializer}
    np.testing.assert_allclose(held["encoder_1/rate_1/kernel"], 3 * kernel.transpose(4, 3, 0, 1, 2), rtol=1e-6)
    np.testing.assert_allclose(held["encoder_1/rate_1/bias"], [7 + 0.25 * 3], rtol=1e-6)


def test_a_layer_of_another_kind_is_named():
    import keras

    voxels = keras.Input((None, None, None, 1))
    network = keras.Model(voxels, keras.layers.AveragePooling3D(2, name="mean")(voxels))
    with pytest.raises(TypeError, match="layer 'mean' is a AveragePooling3D"):
        onnx_model(network)
