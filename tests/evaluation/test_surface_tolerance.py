"""The tolerance of the normalised surface Dice: what was asked for, or the voxel; a smaller one is told."""

import pytest

from kseg.evaluation.surface_tolerance import tolerance_of, warning_below_voxel

SPACINGS = {"fine": (0.5, 0.5, 0.5), "leg": (1.5, 1.5, 2.5), "other": (1.0, 1.2, 1.0)}


def test_the_tolerance_is_what_was_asked_for_or_the_largest_edge_of_the_voxels() -> None:
    assert [tolerance_of(0.0, spacing_mm) for spacing_mm in SPACINGS.values()] == [0.5, 2.5, 1.2]
    assert [tolerance_of(1.0, spacing_mm) for spacing_mm in SPACINGS.values()] == [1.0, 1.0, 1.0]
    assert tolerance_of(0.0, (0.5, 0.69999998807907, 0.5)) == 0.7  # as float32 keeps 0.7


def test_a_tolerance_below_a_voxel_is_told_with_how_many_cases_and_the_coarsest() -> None:
    told = str(warning_below_voxel(1.0, SPACINGS))
    assert "surface_tolerance_mm = 1 is less than a voxel of 2 cases (up to 2.5 mm, 'leg')" in told
    assert "a voxel of 1 case (up to 2.5 mm, 'leg')" in str(warning_below_voxel(1.2, SPACINGS))


@pytest.mark.parametrize("asked_mm", [0.0, 2.5, 3.0])
def test_the_voxel_or_more_is_no_reason_to_warn(asked_mm: float) -> None:
    assert warning_below_voxel(asked_mm, SPACINGS) is None
