"""Solids of known measures, as masks on any grid: a voxel belongs to one if its centre lies inside."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

Inside = Callable[[np.ndarray], np.ndarray]
"""Points (n, 3) in mm from the solid's middle, to whether they are inside; its own axis is z."""

SPACINGS = ((0.5, 0.5, 0.5), (0.5, 0.5, 3.0), (0.7, 1.1, 1.6))
OBLIQUE = (
    Rotation.from_euler("xyz", (20, 0, 0), degrees=True).as_matrix(),
    Rotation.from_euler("xyz", (-25, 15, 40), degrees=True).as_matrix(),
)
"""Directions of x, y and z of a grid, in RAS: turned once, and about all three axes."""
SHIFT_MM = np.array([0.13, -0.21, 0.17])
"""No plane of symmetry goes through voxels."""


def ellipsoid(x_mm: float, y_mm: float, z_mm: float) -> Inside:
    half = np.array([x_mm, y_mm, z_mm]) / 2
    return lambda points: ((points / half) ** 2).sum(axis=1) <= 1


def cylinder(radius_mm: float, length_mm: float) -> Inside:
    return lambda points: (np.hypot(*points[:, :2].T) <= radius_mm) & (np.abs(points[:, 2]) <= length_mm / 2)


def cone(radius_mm: float, height_mm: float) -> Inside:
    """The base at the lower end."""

    def inside(points: np.ndarray) -> np.ndarray:
        up = points[:, 2] + height_mm / 2
        return (up >= 0) & (np.hypot(*points[:, :2].T) <= radius_mm * (1 - up / height_mm))

    return inside


def grid_affine(spacing_mm: tuple[float, ...], directions: np.ndarray | None = None) -> np.ndarray:
    """A grid that is turned about the solid's middle, which lies at (10, -20, 30) RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * spacing_mm
    affine[:3, 3] = (10, -20, 30)
    return affine


def mask_of(
    inside: Inside, affine: np.ndarray, half_mm: Sequence[float], own_axes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A mask (x, y, z) of 0 and 1, and its affine: `affine` moved so that the solid lies in the middle.

    Args:
        inside: the solid.
        affine: its steps are the grid's, its origin is where the solid's middle lies.
        half_mm: of a box around the solid, along its own axes.
        own_axes: the solid's x, y and z in RAS, as columns; RAS itself by default.
    """
    steps = affine[:3, :3]
    own_axes = np.eye(3) if own_axes is None else own_axes
    half = np.ceil(np.abs(np.linalg.inv(steps) @ own_axes) @ half_mm).astype(int) + 2
    shape = 2 * half + 1
    moved = affine.copy()
    moved[:3, 3] = affine[:3, 3] + SHIFT_MM - steps @ half
    mask = np.zeros(shape, np.uint8)
    u, v = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for w in range(shape[2]):
        indices = np.stack([u.ravel(), v.ravel(), np.full(u.size, w)], axis=1)
        points = indices @ steps.T + moved[:3, 3] - affine[:3, 3]
        mask[:, :, w] = inside(points @ own_axes).reshape(u.shape)
    return mask, moved
