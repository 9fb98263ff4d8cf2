"""The plan: values worked by hand, and rules that must hold for any volume."""

import math

import numpy as np
import pytest
from made_plans import fingerprint, plan_of

from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Network
from kseg.records.plan import (
    MIN_VOXELS,
    bytes_per_voxel,
    fit_batch,
    fit_patch,
    fitted,
    make_plan,
    oversampling,
    plan_pooling,
    target_spacing,
)


def most_voxels(memory_gb: float) -> float:
    """Of a patch of which two fit into the memory."""
    return (memory_gb * 1e9 - 0.5e9) / 1900 / 2


def test_a_patch_covers_small_volumes_whole() -> None:
    plan = plan_of(fingerprint(), fingerprint(shape=(38, 55, 42)))
    assert plan.patch_size == (48, 64, 48)
    assert plan.pooling == ((2, 2, 2),) * 4
    assert plan.batch_size == 4
    assert plan.warnings == ()


def test_the_papers_volumes_get_the_papers_patch_and_pooling() -> None:
    assert fit_patch((564, 632, 1443), (0.277,) * 3, most_voxels(4)) == ((96, 96, 96), ((2, 2, 2),) * 5)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "preset", "size"),
    [
        ((70, 70, 70), (1.0, 1.0, 1.0), "midl2021", (96, 96, 96)),
        ((70, 70, 70), (1.0, 1.0, 1.0), "kseg", (80, 80, 80)),
        ((256, 256, 18), (0.8, 0.8, 6.0), "kseg", (208, 208, 20)),
        ((36, 50, 35), (1.0, 1.0, 1.0), "kseg", (48, 64, 48)),
    ],
)
def test_a_patch_is_what_the_networks_own_levels_divide(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], preset: str, size: tuple[int, int, int]
) -> None:
    case = fingerprint(shape=shape, spacing_mm=spacing_mm, class_voxels=(math.prod(shape) - 2000, 2000))
    recipe = load_recipe(None, [f"network.preset={preset}"])
    plan = fitted(plan_of(case), [case], recipe)
    assert plan.patch_size == size
    assert len(plan.pooling) == (5 if preset == "midl2021" else 4)


def test_the_memory_of_the_training_decides_its_patch() -> None:
    case = fingerprint(shape=(512, 512, 512), class_voxels=(512**3 - 10**7, 10**7))
    small, large = (
        math.prod(fitted(plan_of(case), [case], load_recipe(None, [f"data.memory_gb={gb}"])).patch_size)
        for gb in (2, 8)
    )
    assert 2 * 1900 * small + 0.5e9 <= 2e9 < 2 * 1900 * large + 0.5e9 <= 8e9


def test_many_classes_and_filters_of_ones_own_take_memory_too() -> None:
    assert bytes_per_voxel(2) == bytes_per_voxel(8, Network()) == 1900
    assert bytes_per_voxel(108) == 1900 + 100 * 43
    assert bytes_per_voxel(2, Network(preset="midl2021", filters=(16, 32))) == 600 + 16 * 275
    many = fingerprint(shape=(512, 512, 512), class_voxels=(512**3 - 107 * 10**6, *[10**6] * 107))
    names = ("background", *(f"organ {number}" for number in range(107)))
    plan = make_plan([many], ("MRI",), names, memory_gb=4)
    assert math.prod(plan.patch_size) * plan.batch_size * 6200 + 0.5e9 <= 4e9
    assert fitted(plan, [many], load_recipe(None)).batch_size == 2


def test_a_coarse_axis_is_pooled_when_the_others_have_caught_up() -> None:
    assert plan_pooling((192, 192, 40), (0.8, 0.8, 5.0)) == ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan_pooling((192, 192, 8), (0.8, 0.8, 5.0))[2:] == ((2, 2, 2), (2, 2, 1), (2, 2, 1))  # 8, 4: 2 is too few


@pytest.mark.parametrize("memory_gb", [1, 4, 24])
def test_patches_are_multiples_of_their_pooling_leave_some_voxels_and_fit(memory_gb: float) -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        extent = rng.integers(1, 600, 3).tolist()
        spacing_mm = rng.choice([0.3, 1.0, 3.0], 3).tolist()
        patch, pooling = fit_patch(extent, spacing_mm, most_voxels(memory_gb))
        factors = [math.prod(level[axis] for level in pooling) for axis in range(3)]
        for size, factor, length in zip(patch, factors, extent, strict=True):
            assert size % factor == 0
            assert size < length + factor
            assert factor == 1 or size // factor >= MIN_VOXELS
        assert math.prod(patch) * 2 * 1900 + 0.5e9 <= memory_gb * 1e9
        assert 2 <= fit_batch(patch, memory_gb) <= 4


def test_more_memory_never_means_smaller_patches() -> None:
    most = [most_voxels(memory_gb) for memory_gb in (1, 2, 4, 8, 16, 32)]
    voxels = [math.prod(fit_patch((300, 200, 150), (1, 1, 2), voxels)[0]) for voxels in most]
    assert voxels == sorted(voxels)
    assert voxels[0] < voxels[-1]


@pytest.mark.parametrize(
    ("class_voxels", "patch"),
    [
        ((1_400_000, 74_560, 900), (96, 96, 96)),
        ((1_474_000, 600, 300), (64, 64, 64)),
        ((1_474_000, 600, 0), (64, 96, 96)),
        ((1_474_000, 600, 10), (64, 64, 64)),
        ((1_474_560, 0, 0), (96, 96, 96)),
    ],
)
def test_the_rarest_class_is_a_thousandth_of_a_patch_while_that_has_some_context(
    class_voxels: tuple[int, ...], patch: tuple[int, int, int]
) -> None:
    case = fingerprint(shape=(96, 96, 160), class_voxels=class_voxels, components=(1, 1), largest_component=(1.0, 1.0))
    assert make_plan([case], ("US",), ("background", "a", "b"), 4).patch_size == patch


def test_the_target_is_the_median_and_on_a_coarse_axis_finer() -> None:
    spacings_mm = np.array([[1, 1, z] for z in (3.0, 4.0, 5.0, 6.0, 7.0)])
    assert target_spacing(spacings_mm) == (1.0, 1.0, pytest.approx(np.percentile([3, 4, 5, 6, 7], 10)))
    spacings_mm[:, 2] /= 2.5
    assert target_spacing(spacings_mm) == (1.0, 1.0, 2.0)


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
