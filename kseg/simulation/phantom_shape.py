"""What the made-up sweep of a leg covers, and its voxels at full size. Nothing is imported, so that help is quick."""

FULL_SHAPE = (512, 512, 1443)
"""Voxels along x, y and z."""
VOXEL_MM = 0.277
"""Edge of a voxel of `FULL_SHAPE`."""
FIELD_MM = tuple(round(voxels * VOXEL_MM, 1) for voxels in FULL_SHAPE)
"""(141.8, 141.8, 399.7): one field of view, whatever the grid that it is sampled on."""
