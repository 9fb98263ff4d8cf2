"""About how long a training step takes, for a plan that is to fit into a time: measured once, on other processors."""

import math

from kseg.console.machine import cores
from kseg.nn.cpu_features import choose_precision, on_tensorflows_cpu

SECONDS_PER_VOXEL = {
    ("kseg", "mixed_bfloat16"): 0.6e-6,
    ("kseg", "float32"): 0.75e-6,
    ("midl2021", "float32"): 1.1e-6,
}
"""Of a step's patches and their augmentation, by preset and dtype policy, on one core (docs/results.md).

Preset kseg in float32 on an EPYC with AVX-512, the others on a Xeon with AVX-512 and AMX; kseg in bfloat16 was measured
with residual layers and 16 filters on the finest level, at 0.73e-6, and what it takes without them is estimated.
"""
GAIN = 0.63
"""Exponent: two cores are 1.55 times as fast as one."""


def voxels_of_a_step(preset: str, precision: str, seconds: float) -> float:
    """Return how many voxels the patches of a step may have that is to take `seconds`; infinite where none knows.

    Args:
        preset: of the network, unchanged.
        precision: `train.precision`.
        seconds: of a step after the first, which compiles.
    """
    cost = SECONDS_PER_VOXEL.get((preset, choose_precision(precision)))
    if cost is None or not on_tensorflows_cpu():
        return math.inf
    return seconds * cores() ** GAIN / cost
