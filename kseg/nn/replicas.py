"""Sums over the replicas of a `tf.distribute` strategy; with one device, or another backend, nothing to do."""

from keras import KerasTensor, backend


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
