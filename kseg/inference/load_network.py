"""How a member of a run becomes a function from normalised patches to their probabilities."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kseg.inference.ensemble import Predict
from kseg.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from kseg.nn.segmenter import Segmenter

LoadNetwork = Callable[[RunFolder], Predict]
"""`load_keras`, or `kseg.deployment.engine_file.open_engine`, which needs no TensorFlow."""

COMPILED_FROM = 2**25
"""Voxels of patches from which compiling pays on a processor: it takes as long as it saves on some 25 to 40 million."""


class KerasNetwork:
    """A `Predict` by a Keras model, with loops that XLA compiles, or without: these begin at once and are slower.

    On a processor nothing is compiled for small scans. Each scan chooses for itself, so that its mask does not depend
    on what else a command was given: probabilities differ by rounding, some 1e-6 at most, and a label at a tie may.
    """

    def __init__(self, model: "Segmenter"):
        self._model = model
        self._predict: Predict = model.predict_on_batch
        self._plain: Predict | None = None

    def expect(self, voxels: int) -> None:
        """Hear how many voxels the patches of a scan have together, and choose how they are computed."""
        from kseg.nn.cpu_features import on_tensorflows_cpu

        if voxels >= COMPILED_FROM or not on_tensorflows_cpu():
            self._predict = self._model.predict_on_batch
            return
        if self._plain is None:
            from kseg.nn.implementation_choice import PLAIN
            from kseg.nn.networks import with_options

            self._plain = with_options(self._model.network, implementation=PLAIN).predict_on_batch
        self._predict = self._plain

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """Return the probabilities `(n, x, y, z, classes)` of patches `(n, x, y, z, channels)`."""
        return self._predict(patches)


def load_keras(member: RunFolder) -> Predict:
    """Return the prediction of a member's Keras model."""
    return KerasNetwork(member.load_model())
