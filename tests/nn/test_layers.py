"""The shared dilated layer against a NumPy convolution with zero-inflated kernels."""

import itertools

import keras
import numpy as np
import pytest
import scipy
from keras import ops

from kseg.nn.convolution import dilated_convolutions
from kseg.nn.layers import OutputConv3D, Probabilities, SharedDilatedConv3D
from kseg.nn.size_layers import CropLike, PadToMultiple


def inflate(kernel, rate):
    """Put `rate - 1` zeros between the taps of a kernel (kx, ky, kz, channels, filters)."""
    sizes = [rate * (size - 1) + 1 for size in kernel.shape[:3]]
    inflated = np.zeros((*sizes, *kernel.shape[3:]))
    inflated[::rate, ::rate, ::rate] = kernel
    return inflated


def convolve(x, kernel):
    """Correlate x (batch, x, y, z, channels) with an odd kernel, "same" size, zeros outside, in float64."""
    half = [size // 2 for size in kernel.shape[:3]]
    padded = np.pad(x.astype(np.float64), [(0, 0), *((h, h) for h in half), (0, 0)])
    out = np.zeros((*x.shape[:4], kernel.shape[4]))
    for offset in itertools.product(*(range(size) for size in kernel.shape[:3])):
        window = tuple(slice(o, o + n) for o, n in zip(offset, x.shape[1:4], strict=True))
        out += padded[(slice(None), *window)] @ kernel[offset]
    return out


def reference(layer, x, training):
    """The layer as the paper writes it: branch by branch, bias, batch norm, ReLU, concatenation."""
    for axis, factor in enumerate(layer.upsample, start=1):
        x = np.repeat(x, factor, axis=axis)
    branches = []
    for branch, rate in enumerate(layer.dilation_rates):
        weights = [
            np.asarray(ops.convert_to_numpy(w), np.float64)
            for w in (layer.kernel, layer.bias, layer.scale, layer.shift)
        ]
        kernel, bias, scale, shift = weights if layer.share_kernel else [w[branch] for w in weights]
        maps = convolve(x, inflate(kernel, rate)) + bias
        if training:
            mean, variance = maps.mean((0, 1, 2, 3)), maps.var((0, 1, 2, 3))
        else:
            own = slice(branch * layer.filters, (branch + 1) * layer.filters)
            mean = ops.convert_to_numpy(layer.moving_mean)[own]
            variance = ops.convert_to_numpy(layer.moving_variance)[own]
        branches.append(np.maximum(scale * (maps - mean) / np.sqrt(variance + layer.norm_epsilon) + shift, 0))
    return np.concatenate(branches, axis=-1)


def randomised(layer, x, seed=0):
    """Build the layer with weights that no initial value hides behind."""
    if not layer.built:
        layer.build(x.shape)
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        positive = weight.name in ("scale", "moving_variance")
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.5, weight.shape))
    return layer


def volume(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("share_kernel", [True, False])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 8, 8, 8, 1), {}),
        ((2, 7, 9, 11, 3), {}),
        ((2, 12, 5, 6, 2), {"dilation_rates": (2,)}),
        ((1, 3, 2, 5, 2), {}),  # smaller than the kernel dilated by 2, 3 and 4
        ((1, 1, 1, 1, 2), {"dilation_rates": (1, 4)}),
        ((1, 9, 6, 4, 2), {"kernel_size": 5, "dilation_rates": (1, 2)}),
        ((2, 6, 7, 5, 2), {"kernel_size": (1, 3, 5), "dilation_rates": (1, 3)}),
        ((1, 5, 4, 3, 2), {"kernel_size": 1}),
        ((1, 5, 4, 3, 2), {"upsample": 2}),
        ((1, 3, 4, 5, 2), {"upsample": (3, 1, 2), "dilation_rates": (1, 2)}),
    ],
)
def test_layer_equals_numpy_with_zero_inflated_kernels(shape, options, share_kernel, training):
    x = volume(*shape)
    layer = randomised(SharedDilatedConv3D(3, share_kernel=share_kernel, **options), x)
    expected = reference(layer, x, training)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=training)), expected, rtol=1e-4, atol=1e-4)
    assert layer.compute_output_shape(shape) == expected.shape


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("implementation", ["direct", "reuse"])
def test_a_summand_is_added_to_the_activated_maps(implementation, norm, training):
    x, summand = volume(2, 4, 3, 5, 2), volume(2, 4, 3, 5, 6, seed=2)
    options = {"dilation_rates": (1, 2), "negative_slope": 0.1, "norm": norm, "implementation": implementation}
    layer = randomised(SharedDilatedConv3D(3, **options), x)
    state = layer.get_weights()
    alone = ops.convert_to_numpy(layer(x, training=training))
    layer.set_weights(state)
    summed = ops.convert_to_numpy(layer(x, summand, training=training))
    np.testing.assert_allclose(summed, alone + summand, atol=1e-5)


@pytest.mark.parametrize(("share_kernel", "expected"), [(True, 27 * 5 * 7 + 3 * 7), (False, 4 * (27 * 5 * 7 + 3 * 7))])
def test_trainable_parameters(share_kernel, expected):
    layer = SharedDilatedConv3D(7, share_kernel=share_kernel)
    layer.build((None, None, None, None, 5))
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == expected


def test_each_branch_keeps_its_own_moving_statistics():
    x = volume(2, 6, 6, 6, 1) + 3
    layer = randomised(SharedDilatedConv3D(2, norm_momentum=0.25), x)
    before = ops.convert_to_numpy(layer.moving_mean), ops.convert_to_numpy(layer.moving_variance)
    kernel, bias = ops.convert_to_numpy(layer.kernel), ops.convert_to_numpy(layer.bias)
    layer(x, training=True)
    maps = np.concatenate([convolve(x, inflate(kernel, rate)) + bias for rate in (1, 2, 3, 4)], axis=-1)
    mean = 0.25 * before[0] + 0.75 * maps.mean((0, 1, 2, 3))
    variance = 0.25 * before[1] + 0.75 * maps.var((0, 1, 2, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_mean), mean, rtol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_variance), variance, rtol=1e-4)
    assert not np.allclose(mean[:2], mean[2:4], rtol=0.05)  # the distributions do differ: sharing would mix them


def test_config_round_trip_gives_the_same_function():
    x = volume(1, 5, 6, 4, 2)
    layer = randomised(
        SharedDilatedConv3D(2, (1, 3, 3), (1, 3), share_kernel=False, upsample=(1, 2, 1), norm_epsilon=0.1), x
    )
    twin = SharedDilatedConv3D.from_config(layer.get_config())
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    assert twin.get_config() == layer.get_config()
    np.testing.assert_array_equal(ops.convert_to_numpy(twin(x)), ops.convert_to_numpy(layer(x)))


def test_save_and_load_in_safe_mode(tmp_path):
    x = volume(1, 6, 5, 4, 2)
    inputs = keras.Input((None, None, None, 2))
    layer = SharedDilatedConv3D(3, upsample=2)
    model = keras.Model(inputs, layer(inputs))
    randomised(layer, x)
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras", safe_mode=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), ops.convert_to_numpy(model(x)))


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.15)])
def test_mixed_precision_keeps_weights_and_norm_in_float32(policy, tolerance):
    x = volume(1, 6, 6, 6, 2)
    full = randomised(SharedDilatedConv3D(3), x)
    half = SharedDilatedConv3D(3, dtype=policy)
    half.build(x.shape)
    half.set_weights(full.get_weights())
    maps = half(x, training=True)
    assert keras.backend.standardize_dtype(maps.dtype) == policy.removeprefix("mixed_")
    assert {weight.dtype for weight in half.weights} == {"float32"}
    expected = ops.convert_to_numpy(full(x, training=True))
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(maps, "float32")), expected, atol=tolerance)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"filters": 0}, "filters"),
        ({"filters": 2, "kernel_size": 2}, "kernel_size"),
        ({"filters": 2, "kernel_size": (3, 3)}, "kernel_size"),
        ({"filters": 2, "dilation_rates": ()}, "dilation_rates"),
        ({"filters": 2, "dilation_rates": (1, 0)}, "dilation_rates"),
        ({"filters": 2, "upsample": 0}, "upsample"),
        ({"filters": 2, "implementation": "magic"}, "implementation"),
    ],
)
def test_a_wrong_argument_is_named(arguments, named):
    with pytest.raises(ValueError, match=f"`{named}`.*Received"):
        SharedDilatedConv3D(**arguments)


def test_kernels_of_their_own_are_drawn_for_their_own_fan_in():
    keras.utils.set_random_seed(0)
    layer = SharedDilatedConv3D(16, share_kernel=False)
    layer.build((None, None, None, None, 8))
    limit = np.sqrt(6 / (27 * (8 + 16)))  # Glorot and Bengio 2010, equation 16
    kernels = ops.convert_to_numpy(layer.kernel)
    assert abs(np.abs(kernels).max() - limit) < 0.02 * limit
    assert not np.allclose(kernels[0], kernels[1])


def test_padding_to_multiples_and_back():
    x = volume(2, 5, 8, 7, 1)
    padded = PadToMultiple((4, 4, 3))(x)
    expected = np.pad(x, [(0, 0), (0, 3), (0, 0), (0, 2), (0, 0)])
    np.testing.assert_array_equal(ops.convert_to_numpy(padded), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(CropLike()([padded, x])), x)


@pytest.mark.parametrize(("norm", "groups"), [("instance", 6), ("group", 2)])
def test_instance_and_group_norm_equal_keras_own(norm, groups):
    layer = SharedDilatedConv3D(3, dilation_rates=(1, 2), norm=norm, negative_slope=0.1)
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6, 2)).astype(np.float32)
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    for weight in (layer.bias, layer.scale, layer.shift):
        weight.assign(rng.normal(size=weight.shape))
    maps = dilated_convolutions(x, [layer.kernel.value] * 2, (1, 2)) + ops.tile(layer.bias.value, 2)
    reference = keras.layers.GroupNormalization(groups, epsilon=layer.norm_epsilon)
    reference.build(maps.shape)
    reference.set_weights([np.tile(layer.scale.numpy(), 2), np.tile(layer.shift.numpy(), 2)])
    expected = ops.convert_to_numpy(reference(maps))
    expected = np.where(expected > 0, expected, 0.1 * expected)
    for training in (True, False):
        np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=training)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["direct", "auto"])
def test_leaky_relu_lets_a_share_of_the_negative_through(implementation):
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 4, 1)).astype(np.float32)
    layers = [SharedDilatedConv3D(2, implementation=implementation, negative_slope=slope) for slope in (0.0, 0.25, 1.0)]
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights(layers[0].get_weights())
    for training in (True, False):
        relu, leaky, linear = (ops.convert_to_numpy(layer(x, training=training)) for layer in layers)
        np.testing.assert_allclose(relu, np.maximum(linear, 0), atol=1e-5)
        np.testing.assert_allclose(leaky, np.where(linear > 0, linear, 0.25 * linear), atol=1e-5)
        for layer in layers:
            layer.set_weights(layers[0].get_weights())


@pytest.mark.parametrize("implementation", ["direct", "reuse"])
def test_an_output_layer_upsamples_before_it_convolves(implementation):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2, 5)).astype(np.float32)
    layer = OutputConv3D(2, 3, upsample=(2, 1, 3), implementation=implementation)
    layer.build(x.shape)
    up = x.repeat(2, axis=1).repeat(3, axis=3)
    expected = ops.convert_to_numpy(ops.conv(up, layer.kernel, padding="same")) + layer.bias.numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("implementation", ["direct", "auto"])
def test_probabilities_are_scipys_softmax(implementation):
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 3)).astype(np.float32)
    maps[0, 0, 0, 0] = [1e4, -1e4, 9999]
    found = Probabilities(implementation=implementation)(maps)
    np.testing.assert_allclose(ops.convert_to_numpy(found), scipy.special.softmax(maps, axis=-1), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="trains through TensorFlow")
def test_probabilities_have_one_gradient():
    import tensorflow as tf

    maps = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4, 5, 3)).astype(np.float32))
    weights = tf.constant(np.random.default_rng(1).normal(size=maps.shape).astype(np.float32))
    gradients = []
    for implementation in ("direct", "auto"):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(weights * Probabilities(implementation=implementation)(maps))
        gradients.append(tape.gradient(total, maps))
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6)
