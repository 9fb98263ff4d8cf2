"""What is drawn: nothing unless asked, as often as asked, within the recipe's bounds, the same for the same seed."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseg import InputError
from kseg.patches.augmentation.chain import INTENSITY, TRANSFORMS, Drawn, change_intensities, draw
from kseg.recipe.augmentation import Augmentation
from kseg.recipe.load import load_recipe

SHAPE = (9, 10, 11, 2)
DRAWS = 250


def drawn(count: int = 1, **options: Any) -> list[dict[str, Drawn]]:
    augmentation = Augmentation(**options)
    return [draw(augmentation, SHAPE, tf.constant([7, number], tf.int64)) for number in range(count)]


def arguments(name: str, count: int = 60, **options: Any) -> dict[str, np.ndarray]:
    """Arguments of a transform that always happens, stacked over draws."""
    found = [one[name].arguments for one in drawn(count, **{name: 1.0}, **options)]
    return {key: np.stack([np.asarray(one[key]) for one in found]) for key in found[0]}


def test_present_recipes_draw_nothing() -> None:
    assert drawn() == [{}]


def test_a_transform_happens_as_often_as_its_probability_says() -> None:
    many = drawn(DRAWS, **dict.fromkeys(TRANSFORMS, 0.3))
    happens = np.array([[bool(one[name].happens) for name in TRANSFORMS] for one in many])
    bound = 4 * np.sqrt(DRAWS * 0.3 * 0.7)
    assert np.all(np.abs(happens.sum(axis=0) - DRAWS * 0.3) < bound)
    together = np.cov(happens.T.astype(float)) / (0.3 * 0.7)  # drawn independently of each other
    assert np.abs(together - np.diag(np.diag(together))).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_turning_others_on_changes_no_draw_of_a_transform(name: str) -> None:
    alone, among_all = drawn(1, **{name: 1.0})[0][name], drawn(1, **dict.fromkeys(TRANSFORMS, 1.0))[0][name]
    for key, value in alone.arguments.items():
        np.testing.assert_array_equal(value, among_all.arguments[key])


@pytest.mark.parametrize(
    ("name", "argument", "option", "bounds"),
    [
        ("gamma", "exponents", "gamma_range", (0.4, 0.5)),
        ("contrast", "factors", "contrast_range", (2.0, 3.0)),
        ("noise", "std", "noise_std", (0.5, 0.6)),
        ("blur", "sigma", "blur_sigma", (2.0, 4.0)),
        ("low_resolution", "factor", "low_resolution_factor", (3.0, 5.0)),
        ("speckle", "std", "speckle_std", (0.4, 0.5)),
        ("shadow", "darkness", "shadow_darkness", (0.1, 0.2)),
        ("shadow", "width", "shadow_width", (0.3, 0.4)),
        ("affine", "scales", "scaling", (2.0, 3.0)),
    ],
)
def test_a_range_of_the_recipe_bounds_what_is_drawn_and_is_used_up(
    name: str, argument: str, option: str, bounds: tuple[float, float]
) -> None:
    more = {"stretch": 1.0} if name == "affine" else {}
    found = arguments(name, **{option: bounds}, **more)[argument]
    low, high = bounds
    assert low <= found.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < found.max() <= high + 1e-6


@pytest.mark.parametrize(
    ("name", "argument", "option", "value", "most"),
    [
        ("brightness", "shifts", "brightness_shift", 2.0, 2.0),
        ("depth_gain", "control", "depth_gain_factor", 3.0, np.log(3)),
        ("elastic", "control", "elastic_displacement", 6.0, 6.0),
    ],
)
def test_a_greatest_size_bounds_what_is_drawn_on_both_sides(
    name: str, argument: str, option: str, value: float, most: float
) -> None:
    found = arguments(name, **{option: value})[argument]
    assert -most <= found.min() < -0.8 * most
    assert 0.8 * most < found.max() <= most


def test_each_axis_has_its_own_greatest_angle() -> None:
    angles = np.degrees(arguments("affine", rotation_degrees=(0, 10, 90))["angles"])
    assert not angles[:, 0].any()
    assert 8 < np.abs(angles[:, 1]).max() <= 10
    assert 80 < np.abs(angles[:, 2]).max() <= 90


def test_stretch_makes_axes_differ_and_without_it_they_do_not() -> None:
    even = arguments("affine", stretch=1.0)["scales"]
    np.testing.assert_array_equal(even, np.broadcast_to(even[:, :1], even.shape))
    uneven = arguments("affine", stretch=1.5, scaling=(1.0, 1.0))["scales"]
    assert 1 / 1.5 - 1e-6 <= uneven.min() < 0.75
    assert 1.35 < uneven.max() <= 1.5 + 1e-6
    assert np.ptp(uneven, axis=1).mean() > 0.1


def test_elastic_spacing_sets_how_many_points_are_pushed() -> None:
    # 9, 10 and 11 voxels, 4 apart: 2, 3 and 3 intervals, and three points more than that.
    assert arguments("elastic", 1, elastic_spacing=4, elastic_displacement=1.0)["control"].shape == (1, 5, 6, 6, 3)


@pytest.mark.parametrize("name", ["depth_gain", "shadow"])
def test_depth_runs_along_the_axis_that_the_recipe_names(name: str) -> None:
    assert [arguments(name, 1, depth_axis=axis)["axis"].item() for axis in "xyz"] == [0, 1, 2]


@pytest.mark.parametrize("name", INTENSITY)
def test_a_change_happens_if_drawn_the_same_each_time_and_not_at_all_otherwise(name: str) -> None:
    image = tf.random.stateless_normal(SHAPE, (0, 0))
    found = drawn(1, **{name: 1.0})[0]
    once, again = change_intensities(image, found), change_intensities(image, found)
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, image)
    missed = {name: Drawn(tf.constant(False), found[name].arguments)}
    np.testing.assert_array_equal(change_intensities(image, missed), image)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("augmentation.affine=1.5", "'augmentation.affine': it must be a number from 0 to 1. Received 1.5"),
        ("augmentation.gamma_range=[2, 1]", "'augmentation.gamma_range': the lower bound must come first"),
        ("augmentation.blur_sigma=[0, 1]", "'augmentation.blur_sigma': it must be two numbers above 0"),
        ("augmentation.depth_axis=t", "'augmentation.depth_axis': it must be 'x', 'y' or 'z'"),
        ("augmentation.elastic_displacement=7", "must be at most 0.4 elastic_spacing, here 6.4 voxels"),
    ],
)
def test_a_slip_in_the_recipe_is_answered_in_one_line(override: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(None, [override])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
