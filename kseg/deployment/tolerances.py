"""How far another form of a model may differ from the Keras model to be kept: largest differences in a probability.

Nothing here imports NumPy or TensorFlow: the command line names the precisions.
"""

from typing import Literal

Precision = Literal["fp32", "tf32", "fp16"]
"""Of an engine; TensorRT for RTX has no `tf32`."""
MAX_DIFFERENCE = 1e-4
"""In single precision: the same sums, added up in another order."""
MAX_DIFFERENCES: dict[Precision, float] = {"fp32": MAX_DIFFERENCE, "tf32": 0.02, "fp16": 0.02}
