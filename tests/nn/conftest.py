"""A case that is counted by hand, and one that is not."""

import numpy as np
import pytest
from keras import ops

# Four voxels, two classes: TP = 0.9 + 0.4 = 1.3, FP = 0.3 + 0.2 = 0.5, FN = 0.1 + 0.6 = 0.7.
FOREGROUND = np.array([0.9, 0.4, 0.3, 0.2], np.float32)


@pytest.fixture
def four_voxels():
    """Labels (1, 4, 1, 1) and probabilities (1, 4, 1, 1, 2): TP 1.3, FP 0.5, FN 0.7."""
    labels = np.array([1, 1, 0, 0]).reshape(1, 4, 1, 1)
    return labels, np.stack([1 - FOREGROUND, FOREGROUND], axis=-1).reshape(1, 4, 1, 1, 2)


@pytest.fixture
def random_case():
    def make(classes=4, batch=2, seed=0):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, (batch, 5, 4, 3))
        return labels, rng.dirichlet(np.ones(classes), labels.shape).astype(np.float32)

    return make


@pytest.fixture
def number():
    """A scalar tensor as a Python number."""
    return lambda value: float(ops.convert_to_numpy(value))
