"""Voxel order and affines: what moves in the array must not move in space."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from kseg.console.errors import InputError
from kseg.volumes.geometry import (
    check_affine,
    from_ras,
    grid_difference,
    lps_to_ras,
    ras_affine,
    ras_to_lps,
    spacing_mm,
    to_ras,
)
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume


def random_affine(seed: int) -> np.ndarray:
    """Any permutation of the axes, any flips, a tilt of up to 40 degrees and a shear on every third."""
    rng = np.random.default_rng(seed)
    axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    tilt = Rotation.from_rotvec(np.radians(rng.uniform(0, 40)) * Rotation.random(random_state=seed).as_matrix()[0])
    shear = np.eye(3) + (np.triu(rng.uniform(-0.2, 0.2, (3, 3)), 1) if seed % 3 == 0 else 0)
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() @ axes @ shear @ np.diag(rng.uniform(0.2, 5, 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def millimetres(affine: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(affine, voxels)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("channels", [(), (2,)])
def test_to_ras_keeps_every_voxel_in_its_place_and_from_ras_undoes_it(seed, channels):
    affine = random_affine(seed)
    array = np.arange(3 * 4 * 5 * (2 if channels else 1)).reshape(3, 4, 5, *channels)
    array_ras, affine_ras = to_ras(array, affine), ras_affine(affine, array.shape[:3])
    assert nib.aff2axcodes(affine_ras) == ("R", "A", "S")

    first, first_ras = (a[..., 0] if channels else a for a in (array, array_ras))
    values = np.sort(first, axis=None)
    before = np.array([np.argwhere(first == value)[0] for value in values])
    after = np.array([np.argwhere(first_ras == value)[0] for value in values])
    np.testing.assert_allclose(millimetres(affine_ras, after), millimetres(affine, before), atol=1e-9)

    stored = StoredGeometry(array.shape[:3], affine, ".nii")
    np.testing.assert_array_equal(from_ras(array_ras, stored), array)


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_itk_geometry_matches_simpleitk_in_both_directions(seed):
    affine = random_affine(seed)
    image = sitk.Image((3, 4, 5), sitk.sitkUInt8)
    origin, spacing, direction = ras_to_lps(affine)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    lps = np.array(image.TransformIndexToPhysicalPoint((2, 1, 4)))
    np.testing.assert_allclose(millimetres(affine, [2, 1, 4]), lps * (-1, -1, 1), atol=1e-9)
    np.testing.assert_allclose(lps_to_ras(origin, spacing, direction), affine, atol=1e-9)


def test_spacing_is_the_length_of_the_columns():
    affine = np.array([[0, 3, 0, 7], [4, 0, 0, 8], [3, 0, 0.5, 9], [0, 0, 0, 1]], float)
    assert spacing_mm(affine) == (5.0, 3.0, 0.5)


@pytest.mark.parametrize(
    "affine",
    [np.diag([1, 0, 1, 1]), np.diag([1, np.nan, 1, 1]), np.ones((4, 4)), np.eye(3)],
    ids=["no length", "nan", "axes coincide", "3x3"],
)
def test_unusable_affines_are_refused(affine):
    with pytest.raises(InputError, match="x must have"):
        check_affine(affine, "x")


def volume(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    return Volume(np.zeros(shape), affine, StoredGeometry(shape, affine, ".nii"))


@pytest.mark.parametrize("edge_mm", [0.005, 0.277, 5.0])
def test_grids_are_one_within_a_twentieth_of_the_smallest_voxel_edge(edge_mm):
    affine = np.diag([edge_mm, 2 * edge_mm, 3 * edge_mm, 1.0])
    affine[:3, 3] = 200 * edge_mm
    reference = volume((101, 11, 11), affine)
    assert grid_difference(volume((101, 11, 11), affine), reference, "its image") is None
    for share, same in ((0.048, True), (0.052, False)):
        moved, stretched = affine.copy(), affine.copy()
        moved[2, 3] += share * edge_mm
        stretched[0, 0] += share * edge_mm / 100  # over 100 voxels
        for other in (moved, stretched):
            assert (grid_difference(volume((101, 11, 11), other), reference, "its image") is None) == same


def test_headers_rounded_to_six_digits_are_one_grid():
    exact = np.array(
        [[0.7421875, 0, 0, -1251.2346], [0, 0.7421875, 0, -1180.5712], [0, 0, 1.25, -1024.3458], [0, 0, 0, 1]]
    )
    rounded = np.vectorize(lambda number: float(f"{number:.6g}"))(exact)
    assert grid_difference(volume((512, 512, 300), rounded), volume((512, 512, 300), exact), "its image") is None


def test_a_difference_is_told_with_the_digits_that_differ():
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[2, 3] = 1000.12
    reference, moved = volume((101, 11, 11), affine), affine.copy()
    moved[2, 3] += 0.03
    assert grid_difference(volume((101, 11, 11), moved), reference, "its image") == (
        "lies up to 0.03 mm from its image (voxel (0, 0, 0) at (0, 0, 1000.15) RAS mm, there at (0, 0, 1000.12)): "
        "resample one onto the other's grid"
    )
    stretched = affine @ np.diag([1.002, 1, 1, 1])
    assert grid_difference(volume((101, 11, 11), stretched), reference, "its image") == (
        "has voxels of 0.501 x 0.5 x 0.5 mm, its image of 0.5 x 0.5 x 0.5 mm, and lies up to 0.1 mm from its image "
        "(voxel (100, 0, 0) at (50.1, 0, 1000) RAS mm, there at (50, 0, 1000)): resample one onto the other's grid"
    )
    assert grid_difference(volume((101, 11, 12), affine), reference, "its image") == (
        "has the shape (101, 11, 12), its image (101, 11, 11): resample one onto the other's grid"
    )


@pytest.mark.parametrize("factor", [10, 1000, 0.1, 0.001])
def test_a_lost_unit_is_told_as_such(factor):
    image = volume((5, 5, 5), np.diag([0.005, 0.005, 0.01, 1.0]))
    mask = volume((5, 5, 5), np.diag([0.005 * factor, 0.005 * factor, 0.01 * factor, 1.0]))
    difference = grid_difference(mask, image, "its image")
    assert difference.startswith(
        f"has voxels of {0.005 * factor:g} x {0.005 * factor:g} x {0.01 * factor:g} mm, its image"
    )
    assert f"a factor of {max(factor, 1 / factor):g}: one header lacks its unit" in difference


def test_stored_geometry_survives_json_to_the_bit():
    stored = StoredGeometry((3, 4, 5), random_affine(0), ".mha", placed=False)
    again = StoredGeometry.from_json(stored.to_json())
    assert (again.shape, again.extension, again.placed) == ((3, 4, 5), ".mha", False)
    assert again.affine.tobytes() == stored.affine.tobytes()
