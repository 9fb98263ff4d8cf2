"""The plan: values worked by hand, rules that must hold for any volume, and the recipe's last word."""

import math
from typing import Any

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.records.fingerprint import Fingerprint
from kseg.records.plan import (
    MIN_VOXELS,
    Plan,
    fit_batch,
    fit_patch,
    make_plan,
    oversampling,
    plan_pooling,
    planned,
    scales_of,
    target_spacing,
)
from kseg.volumes.intensity_normalisation import Scale

NETWORK: dict[str, Any] = {"filters": (4, 8, 16, 32, 64)}


def fingerprint(**changes: Any) -> Fingerprint:
    values: dict[str, Any] = {
        "shape": (36, 50, 35),
        "spacing_mm": (1.0, 1.0, 1.0),
        "class_voxels": (62_370, 630),
        "inside": ((-100.0, 300.0, 80.0, 40.0),),
        "outside": ((-1000.0, 1000.0, 0.0, 300.0),),
        "components": (1,),
        "largest_component": (1.0,),
    }
    return Fingerprint(**(values | changes))


def plan_of(*cases: Fingerprint, channels: tuple[str, ...] = ("MRI",), memory_gb: float = 4) -> Plan:
    return make_plan(cases, channels, ("background", "muscle"), memory_gb)


def test_a_patch_covers_small_volumes_whole() -> None:
    plan = plan_of(fingerprint(), fingerprint(shape=(38, 55, 42)))
    assert plan.patch_size == (48, 64, 48)
    assert plan.pooling == ((2, 2, 2),) * 4
    assert plan.batch_size == 4
    assert plan.warnings == ()


def test_the_papers_volumes_get_the_papers_patch_and_pooling() -> None:
    assert fit_patch((564, 632, 1443), (0.277,) * 3, memory_gb=4) == ((96, 96, 96), ((2, 2, 2),) * 5)


def test_a_coarse_axis_is_pooled_when_the_others_have_caught_up() -> None:
    assert plan_pooling((192, 192, 40), (0.8, 0.8, 5.0)) == ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan_pooling((192, 192, 8), (0.8, 0.8, 5.0))[2:] == ((2, 2, 2), (2, 2, 1), (2, 2, 1))  # 8, 4: 2 is too few


@pytest.mark.parametrize("memory_gb", [1, 4, 24])
def test_patches_are_multiples_of_their_pooling_leave_some_voxels_and_fit(memory_gb: float) -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        extent = rng.integers(1, 600, 3).tolist()
        spacing_mm = rng.choice([0.3, 1.0, 3.0], 3).tolist()
        patch, pooling = fit_patch(extent, spacing_mm, memory_gb)
        factors = [math.prod(level[axis] for level in pooling) for axis in range(3)]
        for size, factor, length in zip(patch, factors, extent, strict=True):
            assert size % factor == 0
            assert size < length + factor
            assert factor == 1 or size // factor >= MIN_VOXELS
        assert math.prod(patch) * 2 * 1900 + 0.5e9 <= memory_gb * 1e9
        assert 2 <= fit_batch(patch, memory_gb) <= 4


def test_more_memory_never_means_smaller_patches() -> None:
    voxels = [math.prod(fit_patch((300, 200, 150), (1, 1, 2), memory_gb)[0]) for memory_gb in (1, 2, 4, 8, 16, 32)]
    assert voxels == sorted(voxels)
    assert voxels[0] < voxels[-1]


def test_the_target_is_the_median_and_on_a_coarse_axis_finer() -> None:
    spacings_mm = np.array([[1, 1, z] for z in (3.0, 4.0, 5.0, 6.0, 7.0)])
    assert target_spacing(spacings_mm) == (1.0, 1.0, pytest.approx(np.percentile([3, 4, 5, 6, 7], 10)))
    spacings_mm[:, 2] /= 2.5
    assert target_spacing(spacings_mm) == (1.0, 1.0, 2.0)


def test_differing_spacings_are_said_with_what_to_do() -> None:
    (warning,) = plan_of(fingerprint(), fingerprint(), fingerprint(spacing_mm=(1.0, 1.0, 1.2))).warnings
    assert "1 x 1 x 1.2 mm" in warning
    assert "set data.spacing_mm = [1, 1, 1] and prepare again" in warning
    assert plan_of(fingerprint(), fingerprint(spacing_mm=(1.0, 1.0, 1.08))).warnings == ()


def test_a_class_that_nobody_has_is_named() -> None:
    (warning,) = plan_of(fingerprint(class_voxels=(63_000, 0), inside=(), components=(0,))).warnings
    assert "'muscle'" in warning


@pytest.mark.parametrize(("fraction", "share"), [(0.5, 0.33), (0.1, 0.33), (0.01, 0.5), (1e-3, 0.67), (0.0, 0.9)])
def test_the_rarer_the_foreground_the_more_patches_show_it(fraction: float, share: float) -> None:
    assert oversampling(fraction) == share


@pytest.mark.parametrize(
    ("name", "kind"),
    [("CT", "ct"), ("ct_portal", "ct"), ("MRI", "zscore"), ("structural", "zscore"), ("PET", "zscore")],
)
def test_ct_is_known_by_its_name(name: str, kind: str) -> None:
    assert plan_of(fingerprint(), channels=(name,)).normalisation == (kind,)


@pytest.mark.parametrize(
    ("name", "highest", "kind"),
    [("US", 255, "zscore"), ("US", 4000, "log"), ("ultrasound_envelope", 9e6, "log"), ("T1 fuse", 4000, "zscore")],
)
def test_ultrasound_of_more_than_8_bits_is_not_compressed_yet(name: str, highest: float, kind: str) -> None:
    case = fingerprint(outside=((0.0, float(highest), 30.0, 40.0),))
    assert plan_of(case, channels=(name,)).normalisation == (kind,)


def test_ranges_that_differ_wildly_are_said_and_are_not_ct() -> None:
    wild = fingerprint(outside=((0.0, 1e6, 5e5, 1e5),))
    plan = plan_of(fingerprint(), wild, channels=("CT",))
    assert plan.normalisation == ("zscore",)
    assert "500 times" in plan.warnings[0]
    assert "is it really CT?" in plan.warnings[0]


def test_ct_that_some_files_keep_with_another_zero_point_is_said_and_is_not_ct() -> None:
    shifted = fingerprint(inside=((924.0, 1324.0, 1104.0, 40.0),), outside=((24.0, 2024.0, 1024.0, 300.0),))
    cases = (fingerprint(), fingerprint(), shifted)
    plan = plan_of(*cases, channels=("CT",))
    assert plan.normalisation == ("zscore",)
    assert "'CT' lie 1024 from the others' in some cases: are all in Hounsfield units?" in plan.warnings[0]
    assert plan_of(*cases, channels=("MRI",)).warnings == ()


def test_the_scale_of_ct_is_the_median_case() -> None:
    rows = [(-90.0, 200.0, 50.0, 30.0), (-110.0, 300.0, 70.0, 60.0), (-100.0, 9000.0, 60.0, 40.0)]
    plan = plan_of(*(fingerprint(inside=(row,)) for row in rows), channels=("CT",))
    assert scales_of(plan.normalisation, plan) == (Scale(kind="ct", statistics=(-100.0, 300.0, 60.0, 40.0)),)
    assert scales_of(("zscore",), plan) == (Scale(),)


def test_the_recipe_has_the_last_word_and_the_plan_the_rest() -> None:
    plan = plan_of(fingerprint())
    recipe = planned(load_recipe(None), plan, NETWORK)
    assert (recipe.patches.size, recipe.patches.batch_size) == ((48, 64, 48), 4)
    assert recipe.patches.foreground_oversampling == plan.foreground_oversampling
    assert recipe.network.pooling == (*[(2, 2, 2)] * 4, (1, 1, 1))
    assert recipe.data.normalisation == ("zscore",)
    own = [
        "patches.size=[8, 16, 32]",
        "patches.batch_size=3",
        "patches.foreground_oversampling=0.1",
        "network.pooling=[[2, 2, 2], [1, 1, 2]]",
        "data.normalisation=['ct']",
    ]
    given = load_recipe(None, own)
    assert planned(given, plan, NETWORK) == given


def test_the_batch_is_that_of_the_recipes_own_patch() -> None:
    recipe = load_recipe(None, ["patches.size=[96, 96, 96]"])
    assert planned(recipe, plan_of(fingerprint()), NETWORK).patches.batch_size == 2


def test_a_stem_takes_the_first_of_the_poolings() -> None:
    plan = plan_of(fingerprint(shape=(192, 192, 24), spacing_mm=(0.8, 0.8, 5.0), class_voxels=(800_000, 84_736)))
    network = planned(load_recipe(None), plan, {"filters": (8, 16, 32), "stem_stride": 2}).network
    assert network.stem_stride == (2, 2, 1)
    assert network.pooling == plan.pooling[1:4] == ((2, 2, 1), (2, 2, 2), (2, 2, 2))


def test_a_network_of_the_recipes_own_depth_pools_as_it_says() -> None:
    recipe = load_recipe(None, ["network.filters=[4, 8]"])
    assert planned(recipe, plan_of(fingerprint()), {"filters": (4, 8)}).network.pooling is None


def test_normalisation_must_suit_the_dataset() -> None:
    with pytest.raises(InputError, match=r"names 2 channels, .* has 1"):
        planned(load_recipe(None, ["data.normalisation=['ct', 'ct']"]), plan_of(fingerprint()), NETWORK)
    without = plan_of(fingerprint(class_voxels=(63_000, 0), inside=()))
    with pytest.raises(InputError, match="'ct' needs foreground"):
        planned(load_recipe(None, ["data.normalisation=['ct']"]), without, NETWORK)
