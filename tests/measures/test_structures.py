"""Measures of solids whose measures are known, on straight and oblique grids; and beside SimpleITK's."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from solids import OBLIQUE, SPACINGS, cone, cylinder, ellipsoid, grid_affine, mask_of

from kseg.measures.structures import Measures, measure_structures
from kseg.volumes.geometry import ras_to_lps, spacing_mm

HALF_MM = (20.0, 20.0, 50.0)
SEMI_AXES = np.array(HALF_MM)
VOLUME_ML = np.pi / 6 * 100 * 40 * 40 / 1000
AREA_MM2 = np.pi * 20 * 20
ELLIPSOID = ellipsoid(40, 40, 100)
STRAIGHT = np.eye(3)


def measured(mask: np.ndarray, affine: np.ndarray, axis: int = 2) -> Measures:
    return measure_structures(mask, affine, {"solid": [1]}, axis)["solid"]


def of_ellipsoid(spacing: tuple[float, ...], directions: np.ndarray = STRAIGHT, own: bool = False) -> Measures:
    """Of an ellipsoid whose long axis is the z of RAS, or `own`, that of the grid."""
    affine = grid_affine(spacing, directions)
    return measured(*mask_of(ELLIPSOID, affine, HALF_MM, directions if own else None))


def cut(normal: np.ndarray) -> tuple[float, float]:
    """The ellipsoid's largest area across a direction, and its length along it."""
    reach = np.sqrt(((SEMI_AXES * normal) ** 2).sum())
    return np.pi * SEMI_AXES.prod() / reach, 2 * reach


def test_an_ellipsoid_at_half_a_millimetre_within_one_per_cent() -> None:
    found = of_ellipsoid((0.5, 0.5, 0.5))
    area, place_mm, _ = found.profile.largest()
    assert found.volume_ml == pytest.approx(VOLUME_ML, rel=0.01)
    assert area == pytest.approx(AREA_MM2, rel=0.01)
    assert place_mm == pytest.approx(50, abs=1)
    assert found.profile.length_mm == pytest.approx(100, abs=0.5)
    assert found.principal_length_mm == pytest.approx(100, abs=0.5)
    for percent in range(10, 100, 10):  # an ellipsoid's areas are a parabola
        expected = AREA_MM2 * (1 - (percent / 50 - 1) ** 2)
        assert found.profile.area_at(percent) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("axis", range(3))
def test_slices_of_three_millimetres_lose_no_more_than_partial_volume(axis: int) -> None:
    """A slice counts as the section through its middle, which may lie half a slice from the largest one.

    There an ellipsoid of half-axis c has lost (1.5 / c)^2 of its area: 0.09 % along 100 mm, 0.56 % along 40 mm. The sum
    of sections in the middle of slices is the volume to within 1 %, the length right to within a slice.
    """
    spacing = np.full(3, 0.5)
    spacing[axis] = 3
    mask, affine = mask_of(ELLIPSOID, grid_affine(tuple(spacing)), HALF_MM)
    found = measured(mask, affine, axis)
    semi_axis = SEMI_AXES[axis]
    area = np.pi * SEMI_AXES.prod() / semi_axis
    assert found.volume_ml == pytest.approx(VOLUME_ML, rel=0.01)
    assert area * (1 - (1.5 / semi_axis) ** 2 - 0.003) <= found.profile.largest()[0] <= area * 1.003
    assert found.profile.length_mm == pytest.approx(2 * semi_axis, abs=3)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("directions", OBLIQUE)
def test_a_grid_that_lies_oblique_measures_as_a_straight_one(
    spacing: tuple[float, ...], directions: np.ndarray
) -> None:
    straight, turned = of_ellipsoid(spacing), of_ellipsoid(spacing, directions, own=True)
    assert turned.volume_ml == pytest.approx(straight.volume_ml, rel=0.005)
    assert turned.profile.largest()[0] == pytest.approx(straight.profile.largest()[0], rel=0.005)
    assert turned.profile.length_mm == pytest.approx(straight.profile.length_mm, abs=spacing[2])
    np.testing.assert_allclose(turned.principal_axis_ras, directions[:, 2], atol=0.002)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("directions", OBLIQUE)
def test_a_solid_that_lies_oblique_in_its_grid(spacing: tuple[float, ...], directions: np.ndarray) -> None:
    """Slices cut it at an angle: areas and lengths along the grid's axis are others, and known."""
    found = of_ellipsoid(spacing, directions)
    area, length_mm = cut(directions[:, 2])
    assert found.volume_ml == pytest.approx(of_ellipsoid(spacing).volume_ml, rel=0.005)
    assert found.profile.largest()[0] == pytest.approx(area, rel=0.005)
    assert found.profile.length_mm == pytest.approx(length_mm, abs=spacing[2])
    # From corner to corner of voxels: a voxel's extent along the axis too long at most, as in ITK.
    assert 100 - max(spacing) <= found.principal_length_mm <= 100 + np.abs(directions[2] * spacing).sum()
    np.testing.assert_allclose(found.principal_axis_ras, (0, 0, 1), atol=0.002)
    np.testing.assert_allclose(found.centroid_ras_mm, (10, -20, 30), atol=0.05)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("directions", [STRAIGHT, *OBLIQUE])
def test_a_cylinder(spacing: tuple[float, ...], directions: np.ndarray) -> None:
    found = measured(*mask_of(cylinder(15, 60), grid_affine(spacing, directions), (15, 15, 30), directions))
    assert found.profile.length_mm == pytest.approx(60, abs=spacing[2])
    assert found.profile.largest()[0] == pytest.approx(np.pi * 15**2, rel=0.01)
    assert [found.profile.area_at(percent) for percent in (10, 50, 90)] == pytest.approx([np.pi * 15**2] * 3, rel=0.01)
    # Whole slices: its volume is as wrong as its length.
    assert found.volume_ml == pytest.approx(np.pi * 15**2 * found.profile.length_mm / 1000, rel=0.01)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("directions", [STRAIGHT, *OBLIQUE])
def test_a_cone_stands_on_its_base(spacing: tuple[float, ...], directions: np.ndarray) -> None:
    found = measured(*mask_of(cone(20, 60), grid_affine(spacing, directions), (20, 20, 30), directions))
    base = np.pi * 20**2
    assert found.volume_ml == pytest.approx(base * 60 / 3 / 1000, rel=2 * spacing[2] / 60)
    assert found.profile.length_mm == pytest.approx(60, abs=2 * spacing[2])  # its tip may fall between voxels
    area, place_mm, _ = found.profile.largest()
    assert place_mm == pytest.approx(spacing[2] / 2)  # the first slice: an area of a lower end comes first
    assert base * (1 - spacing[2] / 60) ** 2 * 0.99 <= area <= base * 1.01
    along = 0.5 * found.profile.length_mm  # linear between slices, where the cone is a parabola
    assert found.profile.area_at(50) == pytest.approx(base * (1 - along / 60) ** 2, rel=2.5 * spacing[2] / 60 + 0.01)


@pytest.mark.parametrize("spacing", SPACINGS[1:])
@pytest.mark.parametrize("directions", [STRAIGHT, *OBLIQUE])
def test_simpleitk_measures_the_same(spacing: tuple[float, ...], directions: np.ndarray) -> None:
    mask, affine = mask_of(ellipsoid(30, 18, 70), grid_affine(spacing, directions), (15, 9, 35))
    found = measured(mask, affine)
    image = sitk.GetImageFromArray(mask.T)
    origin, size, direction = ras_to_lps(affine)
    image.SetOrigin(origin)
    image.SetSpacing(size)
    image.SetDirection(direction)
    itk = sitk.LabelShapeStatisticsImageFilter()
    itk.ComputeOrientedBoundingBoxOn()
    itk.Execute(image)
    lps = np.array([-1, -1, 1])
    assert found.volume_ml == pytest.approx(itk.GetPhysicalSize(1) / 1000, rel=1e-9)
    np.testing.assert_allclose(found.centroid_ras_mm, lps * itk.GetCentroid(1), atol=1e-6)
    longest = np.reshape(itk.GetPrincipalAxes(1), (3, 3))[2] * lps
    assert abs(longest @ found.principal_axis_ras) == pytest.approx(1, abs=1e-5)
    assert found.principal_length_mm == pytest.approx(itk.GetOrientedBoundingBoxSize(1)[2], rel=1e-3)


def test_areas_of_a_sheared_grid_are_those_across_the_axis() -> None:
    """A gantry tilted by 30 degrees: each slice of 2 mm lies 1 mm further to the front than the one below."""
    affine = np.eye(4)
    affine[:3, 2] = (0, 1, np.sqrt(3))
    mask = np.zeros((8, 8, 12), np.uint8)
    mask[2:5, 1:6, 3:11] = 1  # 3 x 5 voxels of 1 mm2 in each of 8 slices
    found = measured(mask, affine)
    assert found.volume_ml == pytest.approx(8 * 15 * np.sqrt(3) / 1000)  # slices are sqrt(3) mm apart
    assert found.profile.length_mm == pytest.approx(16)  # along the axis, 2 mm a step
    assert found.profile.largest()[0] == pytest.approx(15 * np.cos(np.pi / 6))
    assert found.profile.areas_mm2.sum() * 2 / 1000 == pytest.approx(found.volume_ml)
    along_x = measured(mask, affine, axis=0)
    assert along_x.profile.largest()[0] == pytest.approx(5 * 8 * np.sqrt(3))


def test_pieces_touch_at_corners_and_the_largest_has_its_share() -> None:
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    mask[3, 3, 3] = 1  # touches it at a corner
    mask[6, 6, 6] = 1
    found = measured(mask, np.eye(4))
    assert (found.pieces, found.largest_piece_share) == (2, pytest.approx(0.9))
    assert found.profile.areas_mm2.tolist() == [4, 4, 1, 0, 0, 1]
    assert found.profile.largest() == (4.0, 0.5, 1)
    assert not found.touches_border


@pytest.mark.parametrize("voxel", [(0, 4, 4), (8, 4, 4), (4, 0, 4), (4, 4, 8)])
def test_a_voxel_at_the_border_is_told(voxel: tuple[int, int, int]) -> None:
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[4, 4, 4] = mask[voxel] = 1
    assert measured(mask, np.eye(4)).touches_border


def test_structures_may_share_labels_and_one_may_be_nowhere() -> None:
    mask = np.zeros((6, 7, 8), np.int16)
    mask[2, 2, 2:5], mask[2, 3, 2] = -7, 300
    names = {"tumour": (-7, 300), "core": (300,), "other": (5,)}
    found = measure_structures(mask, np.diag([1, 2, 4, 1]), names, axis=1)
    assert [found[name].volume_ml for name in names] == pytest.approx([0.032, 0.008, 0])
    assert found["tumour"].profile.areas_mm2.tolist() == pytest.approx([12, 4])
    assert found["tumour"].centroid_ras_mm.tolist() == pytest.approx([2, 4.5, 11])
    assert (found["other"].pieces, found["other"].centroid_ras_mm, found["other"].profile.length_mm) == (0, None, 0)
    assert list(measure_structures(mask, np.eye(4), {})) == ["label -7", "label 300"]
    assert measure_structures(np.zeros((2, 2, 2), np.uint8), np.eye(4), {}) == {}


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_of_voxels_in_memory_makes_no_difference(order: str) -> None:
    mask = np.asarray(np.random.default_rng(0).integers(0, 3, (5, 6, 7)), np.uint8, order=order)
    affine = nibabel.affines.from_matvec(np.random.default_rng(1).normal(size=(3, 3)), (1, 2, 3))
    found = measure_structures(mask, affine, {"one": [1]})["one"]
    points = np.argwhere(mask == 1) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(found.centroid_ras_mm, points.mean(axis=0))
    along = points @ found.principal_axis_ras
    extent = np.abs(found.principal_axis_ras @ affine[:3, :3]).sum()
    assert found.principal_length_mm == pytest.approx(np.ptp(along) + extent)
    assert found.profile.areas_mm2.sum() * spacing_mm(affine)[2] / 1000 == pytest.approx(found.volume_ml)
