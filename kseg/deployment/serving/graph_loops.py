"""Loops of a graph, one step at a time: steps side by side would need the memory of several."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def accumulate(steps: Any, initial: Any, step: Callable[[Any, Any], Any]) -> Any:
    """Return `step(n, state)` applied for n = 0 ... steps - 1, beginning with the state `initial`, tensors of any nest.

    A state keeps its dtype and the number of its axes; their lengths may change.
    """
    state = tf.nest.map_structure(_open_ended, initial)
    shapes = tf.nest.map_structure(_invariant, state)
    _, state = tf.while_loop(
        lambda n, _: n < steps,
        lambda n, state: (n + 1, step(n, state)),
        (tf.constant(0), state),
        shape_invariants=(tf.TensorShape([]), shapes),
        parallel_iterations=1,
    )
    return state


def for_each(count: Any, function: Callable[[Any], tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """Return the tensors `function(n)`, n = 0 ... count - 1, all of one shape, stacked."""
    return tf.map_fn(function, tf.range(count), fn_output_signature=dtype, parallel_iterations=1)


def _open_ended(state: Any) -> Any:
    return state if isinstance(state, tf.TensorArray) else tf.convert_to_tensor(state)


def _invariant(state: Any) -> tf.TensorShape:
    if isinstance(state, tf.TensorArray):
        return tf.TensorShape([])
    return tf.TensorShape([None] * state.shape.rank)
