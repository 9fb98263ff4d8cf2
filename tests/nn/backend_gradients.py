"""Gradients by whichever backend Keras runs on."""

import keras
from keras import ops


def value_and_gradients(function, arrays, upstream):
    """A function's value and its gradients for an upstream gradient, by the backend's own differentiation."""
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    if keras.backend.backend() == "jax":
        import jax

        value, backward = jax.vjp(function, *tensors)
        return value, *backward(ops.convert_to_tensor(upstream))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return value, *tape.gradient(value, tensors, output_gradients=ops.convert_to_tensor(upstream))
