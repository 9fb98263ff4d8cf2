"""ReLU and a sum in one pass: against the plain functions, and bit by bit against a conversion's rounding."""

import keras
import numpy as np
import pytest
from backend_gradients import value_and_gradients
from keras import ops

from kseg.nn import activation


def bfloat16(values):
    return ops.cast(np.asarray(values, "float32"), "bfloat16")


def as_floats(maps):
    return ops.convert_to_numpy(ops.cast(maps, "float32"))


@pytest.mark.parametrize("negative_slope", [0.0, 0.01])
def test_the_sum_is_rounded_once(negative_slope):
    rng = np.random.default_rng(1)
    maps, summand = (bfloat16(rng.normal(size=(2, 3, 4, 5, 6))) for _ in range(2))
    exact = np.where(as_floats(maps) > 0, 1, np.float32(negative_slope)) * as_floats(maps) + as_floats(summand)
    received = as_floats(activation.fast_activate(maps, negative_slope, summand))
    np.testing.assert_allclose(received, exact, rtol=2**-7, atol=2**-8)
    np.testing.assert_allclose(received, as_floats(activation.activate(maps, negative_slope, summand)), atol=2**-5)


@pytest.mark.parametrize("negative_slope", [0.0, 0.01])
@pytest.mark.parametrize("sums", [False, True])
def test_gradients_are_those_of_the_plain_functions(negative_slope, sums):
    rng = np.random.default_rng(2)
    maps, summand, upstream = (rng.normal(size=(1, 2, 3, 4, 5)).astype("float32") for _ in range(3))

    def of(function):
        def in_bfloat16(maps, *summands):
            halves = [ops.cast(array, "bfloat16") for array in (maps, *summands)]
            return ops.cast(function(halves[0], negative_slope, *halves[1:]), "float32")

        return value_and_gradients(in_bfloat16, [maps, summand] if sums else [maps], upstream)

    expected, received = of(activation.activate), of(activation.fast_activate)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True):
        np.testing.assert_allclose(as_floats(other), as_floats(one), rtol=2**-7, atol=2**-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow: the loops are for its CPU")
def test_rounding_is_that_of_a_conversion():
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 2**32, 10_000, dtype=np.uint32).view("float32")
    special = np.array([0, -0.0, 1, 1.00390625, 1.01171875, np.inf, -np.inf, 3.4e38, np.nan], "float32")
    values = np.concatenate([numbers[np.isfinite(numbers)], special])
    received = as_floats(activation._to_bfloat16(ops.convert_to_tensor(values)))
    np.testing.assert_array_equal(received, as_floats(ops.cast(values, "bfloat16")))


def test_float32_is_left_to_the_backend():
    maps = np.array([-1.0, 2.0], "float32")
    np.testing.assert_array_equal(as_floats(activation.fast_activate(maps, 0.5, maps)), [-1.5, 4.0])
