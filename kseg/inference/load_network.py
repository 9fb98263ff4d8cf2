"""How a member of a run becomes a function from normalised patches to their probabilities."""

from collections.abc import Callable

from kseg.inference.ensemble import Predict
from kseg.runs.run_folder import RunFolder

LoadNetwork = Callable[[RunFolder], Predict]
"""`load_keras`, or `kseg.deployment.engine_file.open_engine`, which needs no TensorFlow."""


def load_keras(member: RunFolder) -> Predict:
    """Return the prediction of a member's Keras model."""
    return member.load_model().predict_on_batch
