"""The paper's network and its options."""

import numpy as np
import pytest
from keras import ops

from kseg import build_network
from kseg.nn.implementation_choice import PLAIN
from kseg.nn.networks import trainable_parameters, with_options

SMALL = {"filters": (2, 3), "dilation_rates": (1, 2)}


@pytest.mark.parametrize(("share_kernel", "layer", "network"), [(True, 120, 1_031_606), (False, 480, 4_123_826)])
def test_parameters_of_the_paper(share_kernel, layer, network):
    model = build_network("midl2021", num_classes=2, share_kernel=share_kernel)
    assert trainable_parameters(model.get_layer("encoder_1")) == layer
    assert trainable_parameters(model) == network


@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 5, 9), (1, 3, 20)])
def test_any_size_gives_probabilities_of_that_size(shape):
    model = build_network("midl2021", num_classes=3, input_channels=2, **SMALL)
    voxels = np.random.default_rng(0).normal(size=(2, *shape, 2)).astype(np.float32)
    probabilities = ops.convert_to_numpy(model(voxels))
    assert probabilities.shape == (2, *shape, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert probabilities.min() >= 0


def test_padding_does_not_reach_the_volume_from_the_near_side():
    # A size that fits and one that is padded agree where no kernel reaches the padding.
    model = build_network("midl2021", **{**SMALL, "filters": (2,), "dilation_rates": (1,)})
    voxels = np.random.default_rng(0).normal(size=(1, 16, 16, 17, 1)).astype(np.float32)
    whole = ops.convert_to_numpy(model(voxels))
    cut = ops.convert_to_numpy(model(voxels[:, :, :, :16]))
    np.testing.assert_allclose(whole[..., :8, :], cut[..., :8, :], atol=1e-5)


def test_additive_skip_costs_no_parameter_and_changes_the_function():
    plain, skip = (build_network("midl2021", skip=skip, **SMALL) for skip in ("none", "add"))
    skip.set_weights(plain.get_weights())
    assert trainable_parameters(plain) == trainable_parameters(skip)
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    assert not np.allclose(ops.convert_to_numpy(plain(voxels)), ops.convert_to_numpy(skip(voxels)), atol=1e-4)


def test_pooling_per_axis_keeps_an_anisotropic_volumes_slices_apart():
    model = build_network("midl2021", pooling=((2, 2, 1), (2, 2, 1)), **SMALL)
    sizes = [tuple(model.get_layer(f"pool_{level}").pool_size) for level in (1, 2)]
    assert sizes == [(2, 2, 1), (2, 2, 1)]
    voxels = np.zeros((1, 8, 8, 3, 1), np.float32)
    assert ops.convert_to_numpy(model(voxels)).shape == (1, 8, 8, 3, 2)


def test_depth_follows_the_filters():
    model = build_network("midl2021", filters=(2, 2, 2))
    names = {layer.name for layer in model.layers}
    assert {"encoder_3", "decoder_1"} <= names
    assert "encoder_4" not in names


def test_rates_may_be_given_level_by_level():
    model = build_network("midl2021", filters=(2, 4), dilation_rates=[[1, 2], [1]], skip="add")
    rates = {layer.name: layer.dilation_rates for layer in model.layers if hasattr(layer, "dilation_rates")}
    wanted = {"encoder_1": (1, 2), "encoder_2": (1,), "decoder_2": (1,), "decoder_1": (1, 2)}
    assert {name: rates[name] for name in wanted} == wanted
    assert ops.convert_to_numpy(model(np.zeros((1, 4, 4, 4, 1), np.float32))).shape == (1, 4, 4, 4, 2)


@pytest.mark.parametrize("rates", [[[1, 2]], [[1], [1], [1]], [[1, 2], 1], [[], [1]]])
def test_rates_that_do_not_fit_the_levels_are_named(rates):
    with pytest.raises(ValueError, match="dilation_rates"):
        build_network("midl2021", filters=(2, 4), dilation_rates=rates)


def test_a_rate_that_is_no_integer_is_not_left_out_in_silence():
    model = build_network("midl2021", filters=(2,), dilation_rates=(1, np.int64(2)))
    assert model.get_layer("encoder_1").dilation_rates == (1, 2)


def test_implementations_exchange_weights_and_give_the_same_network():
    fast = build_network("midl2021", implementation="reuse", num_classes=3, **SMALL)
    plain = with_options(fast, implementation="direct")
    assert {layer.implementation for layer in plain.layers if hasattr(layer, "implementation")} == {"direct"}
    voxels = np.random.default_rng(0).normal(size=(1, 9, 8, 7, 1)).astype(np.float32)
    np.testing.assert_allclose(ops.convert_to_numpy(plain(voxels)), ops.convert_to_numpy(fast(voxels)), atol=1e-5)


def test_a_residual_layer_that_gives_zero_changes_nothing():
    plain, residual = (build_network("midl2021", residual=flag, **SMALL) for flag in (False, True))
    for layer in residual.layers:
        if "_residual_" in layer.name:
            layer.scale.assign(ops.zeros_like(layer.scale))
        elif layer.weights:
            layer.set_weights(plain.get_layer(layer.name).get_weights())
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(ops.convert_to_numpy(residual(voxels)), ops.convert_to_numpy(plain(voxels)), atol=1e-6)


def test_the_finest_level_may_do_without_its_residual_layer():
    names = {flag: [] for flag in (True, False)}
    for flag, found in names.items():
        network = build_network("midl2021", residual=True, finest_residual=flag, **SMALL)
        found += [layer.name for layer in network.layers]
    finest = {"encoder_residual_1", "decoder_residual_1"}
    assert set(names[True]) - set(names[False]) == finest
    assert "encoder_residual_2" in names[False]


@pytest.mark.parametrize("stride", [2, (2, 1, 2)])
def test_a_stem_lowers_the_resolution_of_all_levels_and_the_output_raises_it_again(stride):
    model = build_network("kseg", stem_stride=stride, num_classes=3, **SMALL)
    voxels = np.random.default_rng(0).normal(size=(1, 11, 8, 9, 1)).astype(np.float32)
    probabilities = ops.convert_to_numpy(model(voxels))
    np.testing.assert_allclose(probabilities.sum(-1), np.ones((1, 11, 8, 9)), atol=1e-5)
    plain = with_options(model, implementation="direct")
    np.testing.assert_allclose(ops.convert_to_numpy(plain(voxels)), probabilities, atol=1e-5)
    strides = stride if isinstance(stride, tuple) else (stride,) * 3
    assert tuple(model.get_layer("stem").strides) == strides


@pytest.mark.parametrize("implementation", ["auto", "direct", "reuse"])
@pytest.mark.parametrize(("preset", "stride"), [("midl2021", 1), ("kseg", 1), ("kseg", 2)])
def test_a_compiled_network_takes_sizes_that_pooling_does_not_divide(preset, stride, implementation):
    # TensorFlow with oneDNN fuses zeros and the convolution after them, and loses the convolution's own padding.
    model = build_network(preset, stem_stride=stride, implementation=implementation, **SMALL)
    for size in ((8, 9, 12), (11, 9, 8), (8, 8, 8)):
        voxels = np.random.default_rng(0).normal(size=(1, *size, 1)).astype(np.float32)
        one_by_one = ops.convert_to_numpy(model(voxels))
        np.testing.assert_allclose(model.predict_on_batch(voxels), one_by_one, atol=1e-5)


def test_dropout_leaves_out_whole_maps_in_training_only():
    model = build_network("kseg", dropout=0.5, **SMALL)
    voxels = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype(np.float32)
    first, second = (ops.convert_to_numpy(model(voxels, training=True)) for _ in range(2))
    assert not np.allclose(first, second, atol=1e-4)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(voxels)), ops.convert_to_numpy(model(voxels)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"preset": "unet"}, "preset"),
        ({"preset": "midl2021", "num_classes": 1}, "num_classes"),
        ({"preset": "midl2021", "skip": "concat"}, "skip"),
        ({"preset": "midl2021", "pooling": ((2, 2, 2),)}, "pooling"),
        ({"preset": "midl2021", "depth": 3}, "depth"),
        ({"preset": "midl2021", "norm": "layer"}, "norm"),
        ({"preset": "midl2021", "dropout": 1.0}, "dropout"),
    ],
)
def test_a_wrong_option_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        build_network(**arguments)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_plain_network_is_the_same_without_xla(norm):
    import tensorflow as tf

    fast = build_network("midl2021", implementation="reuse", num_classes=3, norm=norm, **SMALL)
    plain = with_options(fast, implementation=PLAIN)
    patches = np.random.default_rng(0).normal(size=(2, 8, 12, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(plain.predict_on_batch(patches), fast.predict_on_batch(patches), atol=1e-5)

    def compiled_parts(network):
        function = tf.function(lambda x: network(x, training=False))
        graph = function.get_concrete_function(tf.TensorSpec((None, None, None, None, 1))).graph.as_graph_def()
        return [part for part in graph.library.function if part.attr["_XlaMustCompile"].b]

    assert compiled_parts(plain) == []
    assert compiled_parts(fast) != []
