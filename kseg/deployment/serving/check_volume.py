"""The made-up volume on which a served model is compared with `kseg.predict`."""

from collections.abc import Sequence

import numpy as np

from kseg.deployment.serving.pipeline import Pipeline
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

STRETCH = (1.25, 1.0, 0.8)
"""How many times the model's spacing a voxel of the check volume is long."""
WAVES = 4
NOISE = 0.03
WITHOUT_A_UNIT = (0.0, 1000.0)
"""Range of a channel whose scale is each volume's own."""


def check_volume(pipeline: Pipeline, seed: int) -> Volume:
    """Return `(x, y, z, channels)` int16: soft shapes and a little noise, in the range of the channels' scales.

    On the grid that windows travel over it is longer than a patch along x and y, and a voxel shorter along z.
    """
    rng = np.random.default_rng(seed)
    x, y, z = pipeline.patch_size
    shape, spacing_mm = (x * 4 // 3 + 1, y + 3, max(1, z - 1)), (1.0, 1.0, 1.0)
    if pipeline.spacing_mm:
        x, y, z = (max(1, round(length / stretch)) for length, stretch in zip(shape, STRETCH, strict=True))
        shape, spacing_mm = (x, y, z), tuple(np.multiply(pipeline.spacing_mm, STRETCH))
    channels = []
    for channel in range(len(pipeline.channels)):
        statistics = pipeline.scales[channel].statistics if pipeline.scales else None
        low, high = statistics[:2] if statistics else WITHOUT_A_UNIT
        shades = _soft_shapes(shape, rng) + rng.normal(0, NOISE, shape)
        channels.append((low + shades * (high - low)).clip(-(2**15), 2**15 - 1).astype(np.int16))
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(np.stack(channels, axis=-1), affine, StoredGeometry(shape, affine, ".nii.gz"))


def _soft_shapes(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """A sum of waves along all three axes, from 0 to 1."""
    total = np.zeros(shape)
    for _ in range(WAVES):
        periods, phases = rng.uniform(0.5, 3, 3), rng.uniform(0, 2 * np.pi, 3)
        along = (np.sin(2 * np.pi * p * np.arange(n) / n + at) for n, p, at in zip(shape, periods, phases, strict=True))
        total += np.einsum("x,y,z->xyz", *along)
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)
