"""Reused multiplications against plain dilated convolutions: values and gradients, on both backends."""

import itertools

import keras
import numpy as np
import pytest
from backend_gradients import value_and_gradients
from keras import ops

from kseg import SegmentationLoss, Segmenter, SharedDilatedConv3D, build_network
from kseg.nn.convolution import dilated_convolutions, upsample_nearest
from kseg.nn.kernel_reuse import reused_convolutions

TABLE = [
    # (batch, x, y, z, channels), kernel size, rates, up-sampling
    ((1, 8, 8, 8, 1), (3, 3, 3), (1, 2, 3, 4), (1, 1, 1)),
    ((2, 5, 7, 9, 3), (3, 3, 3), (1, 2, 3, 4), (1, 1, 1)),
    ((3, 1, 2, 3, 2), (3, 3, 3), (1, 2, 3, 4), (1, 1, 1)),
    ((1, 2, 3, 1, 2), (3, 3, 3), (1, 2, 3, 4), (2, 2, 2)),
    ((2, 4, 5, 3, 3), (3, 3, 3), (1, 2, 3, 4), (2, 2, 2)),
    ((1, 3, 4, 2, 2), (3, 3, 3), (1, 2, 3), (3, 3, 3)),
    ((1, 3, 5, 4, 2), (3, 3, 3), (1, 2, 5, 6), (2, 1, 3)),
    ((2, 12, 3, 5, 2), (3, 3, 3), (7,), (1, 2, 1)),
    ((1, 6, 5, 4, 2), (5, 5, 5), (1, 2), (1, 1, 1)),
    ((1, 4, 3, 3, 2), (5, 5, 5), (1, 2, 3), (2, 2, 2)),
    ((1, 5, 4, 3, 4), (1, 1, 1), (1, 2), (2, 2, 2)),
    ((2, 4, 6, 5, 2), (1, 3, 5), (1, 2, 4), (1, 2, 2)),
]


def reference(x, kernel, rates, factors):
    """Value in float64, and a function from its gradient to those of `x` and `kernel`: plain loops over the taps."""
    for axis, factor in enumerate(factors, start=1):
        x = np.repeat(x, factor, axis=axis)
    sizes, filters = kernel.shape[:3], kernel.shape[4]
    shape = x.shape[1:4]
    taps = list(itertools.product(*(range(-(size // 2), size // 2 + 1) for size in sizes)))

    def window(rate, tap, margin):
        return (
            slice(None),
            *(slice(margin + rate * t, margin + rate * t + n) for t, n in zip(tap, shape, strict=True)),
        )

    def weight(array, tap):
        return array[tuple(t + size // 2 for t, size in zip(tap, sizes, strict=True))]

    branches = []
    for rate in rates:
        margin = rate * max(sizes)
        padded = np.pad(x, [(0, 0), *[(margin, margin)] * 3, (0, 0)])
        branches.append(sum(padded[window(rate, tap, margin)] @ weight(kernel, tap) for tap in taps))

    def gradients(upstream):
        kernel_gradient = np.zeros(kernel.shape)
        x_gradient = np.zeros(x.shape)
        for branch, rate in enumerate(rates):
            margin = rate * max(sizes)
            padded = np.pad(x, [(0, 0), *[(margin, margin)] * 3, (0, 0)])
            spread = np.zeros(padded.shape)
            part = upstream[..., branch * filters : (branch + 1) * filters]
            for tap in taps:
                weight(kernel_gradient, tap)[...] += np.einsum(
                    "bxyzc,bxyzf->cf", padded[window(rate, tap, margin)], part
                )
                spread[window(rate, tap, margin)] += part @ weight(kernel, tap).T
            inside = tuple(slice(margin, margin + n) for n in shape)
            x_gradient += spread[(slice(None), *inside)]
        for axis, factor in enumerate(factors, start=1):
            low = (*x_gradient.shape[:axis], -1, factor, *x_gradient.shape[axis + 1 :])
            x_gradient = x_gradient.reshape(low).sum(axis + 1)
        return x_gradient, kernel_gradient

    return np.concatenate(branches, axis=-1), gradients


def assert_close(found, expected, relative):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=0, atol=relative * scale)


@pytest.mark.parametrize(("shape", "sizes", "rates", "factors"), TABLE)
def test_value_and_gradients_equal_plain_loops_in_float64(shape, sizes, rates, factors):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=shape), rng.normal(size=(*sizes, shape[-1], 3))
    expected, gradients = reference(x, kernel, rates, factors)
    upstream = rng.normal(size=expected.shape)
    wanted = (expected, *gradients(upstream))
    arrays = [array.astype(np.float32) for array in (x, kernel)]

    def direct(x, kernel):
        return dilated_convolutions(upsample_nearest(x, factors), [kernel] * len(rates), rates)

    def reuse(x, kernel):
        return reused_convolutions(x, kernel, rates, factors)

    def plain(x, kernel):
        return reused_convolutions(x, kernel, rates, factors, plain=True)

    for function in (direct, reuse, plain):
        found = value_and_gradients(function, arrays, upstream.astype(np.float32))
        for one, other, relative in zip(found, wanted, (1e-5, 1e-4, 1e-4), strict=True):
            assert_close(one, other, relative)


@pytest.mark.parametrize("share_kernel", [True, False])
@pytest.mark.parametrize(("shape", "sizes", "rates", "factors"), TABLE[1:8:2])
def test_a_layer_gives_the_same_in_both_implementations(shape, sizes, rates, factors, share_kernel):
    options = {"kernel_size": sizes, "dilation_rates": rates, "upsample": factors, "share_kernel": share_kernel}
    direct, reuse = (SharedDilatedConv3D(3, implementation=name, **options) for name in ("direct", "reuse"))
    rng = np.random.default_rng(1)
    x = rng.normal(size=shape).astype(np.float32)
    for layer in (direct, reuse):
        layer.build(shape)
    reuse.set_weights(direct.get_weights())
    upstream = rng.normal(size=direct.compute_output_shape(shape)).astype(np.float32)
    weights = [ops.convert_to_numpy(weight) for weight in direct.trainable_variables]
    wanted, found = (value_and_gradients(training_call(layer), [x, *weights], upstream) for layer in (direct, reuse))
    names = ["maps", "x", *(weight.name for weight in direct.trainable_variables)]
    for name, one, other in zip(names, found, wanted, strict=True):
        if name != "bias":  # it stands before a norm: its gradient is rounding noise around zero
            assert_close(one, ops.convert_to_numpy(other), 1e-5 if name == "maps" else 1e-4)
    for layer in (direct, reuse):
        layer(x, training=True)
    for one, other in zip(direct.get_weights(), reuse.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)  # the moving statistics
    assert_close(reuse(x), ops.convert_to_numpy(direct(x)), 1e-5)


def training_call(layer):
    """The layer in training as a function of its input and its trainable weights."""

    def call(x, *weights):
        return layer.stateless_call(weights, [w.value for w in layer.non_trainable_variables], x, training=True)[0]

    return call


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless it is told so at its start")
def test_double_precision_stays_double():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 5, 4, 6, 3)), rng.normal(size=(3, 3, 3, 3, 2))
    found = ops.convert_to_numpy(reused_convolutions(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel), (1, 2)))
    wanted = ops.convert_to_numpy(
        dilated_convolutions(ops.convert_to_tensor(x), [ops.convert_to_tensor(kernel)] * 2, (1, 2))
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_the_same_in_both_implementations(policy):
    keras.utils.set_random_seed(0)  # halves are so many digits apart for some weights, and more for others
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6, 3)).astype(np.float32)
    direct, reuse = (
        SharedDilatedConv3D(4, upsample=2, implementation=name, dtype=policy) for name in ("direct", "reuse")
    )
    for layer in (direct, reuse):
        layer.build(x.shape)
    reuse.set_weights(direct.get_weights())
    wanted, found = (ops.convert_to_numpy(ops.cast(layer(x), "float32")) for layer in (direct, reuse))
    np.testing.assert_allclose(found, wanted, atol=0.05 if policy == "mixed_bfloat16" else 0.01)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kseg trains on TensorFlow")
def test_fifty_steps_of_training_follow_the_same_curve():
    rng = np.random.default_rng(0)
    labels = (rng.normal(size=(2, 12, 12, 12)) > 1).astype(np.uint8)
    voxels = (labels[..., None] + 0.5 * rng.normal(size=(*labels.shape, 1))).astype(np.float32)
    curves = []
    for implementation in ("direct", "reuse"):
        keras.utils.set_random_seed(0)
        network = build_network("midl2021", filters=(2, 3), skip="add", implementation=implementation)
        model = Segmenter(network, SegmentationLoss(cross_entropy=1.0), ["foreground"])
        model.compile(keras.optimizers.SGD(0.05))
        curves.append(model.fit(voxels, labels, batch_size=2, epochs=50, verbose=0).history["loss"])
    direct, reuse = curves
    assert direct[-1] < 0.8 * direct[0]
    np.testing.assert_allclose(reuse, direct, rtol=2e-3)
    np.testing.assert_allclose(reuse[:5], direct[:5], rtol=1e-5)
