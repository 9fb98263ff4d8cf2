"""Sums over the replicas of a `tf.distribute` strategy; with one device, or another backend, nothing to do."""

from typing import Any

from keras import KerasTensor, backend, ops, tree


def replica_count() -> int:
    """Return how many replicas share the global batch."""
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def sum_over_replicas(value: KerasTensor) -> KerasTensor:
    """Return the sum of `value` over all replicas: every replica gets the same result, and its gradient."""
    if replica_count() == 1:
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def for_keras_to_reduce(results: Any) -> Any:
    """Return what a step returns as Keras' `fit` takes it from several workers.

    It averages over them along the first axis, which scalars lack (keras-team/keras issue 20585: the reason why `fit`
    fails under `MultiWorkerMirroredStrategy`). With an axis of one the mean is a scalar again.
    """
    if backend.backend() != "tensorflow":
        return results
    import tensorflow as tf

    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return results
    return tree.map_structure(lambda value: ops.reshape(value, (1,)), results)
