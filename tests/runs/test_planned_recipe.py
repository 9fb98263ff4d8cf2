"""The recipe has the last word, the plan the rest; channels get their scales."""

from typing import Any

import pytest
from made_plans import fingerprint, plan_of

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.plan import Plan
from kseg.runs import planned_recipe
from kseg.runs.planned_recipe import ENOUGH_STEPS, UNBOUNDED, as_begun, least_steps, planned, scales_of
from kseg.volumes.intensity_normalisation import Scale

NETWORK: dict[str, Any] = {"filters": (4, 8, 16, 32, 64)}


def complete(
    recipe: Recipe, plan: Plan, network: dict[str, Any] = NETWORK, channel: str = "MRI", muscle: str = "muscle"
) -> Recipe:
    return planned(recipe, plan, network, (channel,), (muscle,))


def test_the_scale_of_ct_is_the_median_case() -> None:
    rows = [(-90.0, 200.0, 50.0, 30.0), (-110.0, 300.0, 70.0, 60.0), (-100.0, 9000.0, 60.0, 40.0)]
    plan = plan_of(*(fingerprint(inside=(row,)) for row in rows), channels=("CT",))
    assert scales_of(plan.normalisation, plan) == (Scale(kind="ct", statistics=(-100.0, 300.0, 60.0, 40.0)),)
    assert scales_of(("zscore",), plan) == (Scale(),)


def test_the_recipe_has_the_last_word_and_the_plan_the_rest() -> None:
    plan = plan_of(fingerprint())
    recipe = complete(load_recipe(None), plan)
    assert (recipe.patches.size, recipe.patches.batch_size) == ((48, 64, 48), 4)
    assert recipe.patches.foreground_oversampling == plan.foreground_oversampling
    assert recipe.network.pooling == (*[(2, 2, 2)] * 4, (1, 1, 1))
    assert recipe.data.normalisation == ("zscore",)
    own = [
        "patches.size=[8, 16, 32]",
        "patches.batch_size=3",
        "patches.foreground_oversampling=0.1",
        "network.pooling=[[2, 2, 2], [1, 1, 2]]",
        "patches.flip_axes=['z']",
        "evaluation.flip_axes=['y']",
        "augmentation={affine = 0.1, gamma = 0, noise = 0, speckle = 0, depth_gain = 0}",
        "data.normalisation=['ct']",
    ]
    given = load_recipe(None, own)
    assert complete(given, plan) == given


def test_the_batch_is_that_of_the_recipes_own_patch() -> None:
    recipe = load_recipe(None, ["patches.size=[96, 96, 96]"])
    assert complete(recipe, plan_of(fingerprint())).patches.batch_size == 2


def test_a_stem_takes_the_first_of_the_poolings() -> None:
    plan = plan_of(fingerprint(shape=(192, 192, 24), spacing_mm=(0.8, 0.8, 5.0), class_voxels=(800_000, 84_736)))
    network = complete(load_recipe(None), plan, {"filters": (8, 16, 32), "stem_stride": 2}).network
    assert network.stem_stride == (2, 2, 1)
    assert network.pooling == plan.pooling[1:4] == ((2, 2, 1), (2, 2, 2), (2, 2, 2))


def test_a_network_of_the_recipes_own_depth_pools_as_it_says() -> None:
    recipe = load_recipe(None, ["network.filters=[4, 8]"])
    assert complete(recipe, plan_of(fingerprint()), {"filters": (4, 8)}).network.pooling is None


def test_normalisation_must_suit_the_dataset() -> None:
    with pytest.raises(InputError, match=r"names 2 channels, .* has 1"):
        complete(load_recipe(None, ["data.normalisation=['ct', 'ct']"]), plan_of(fingerprint()))
    without = plan_of(fingerprint(class_voxels=(63_000, 0), inside=()))
    with pytest.raises(InputError, match="'ct' needs foreground"):
        complete(load_recipe(None, ["data.normalisation=['ct']"]), without)


def test_patches_are_mirrored_and_changed_as_the_dataset_allows() -> None:
    mr, ultrasound = (complete(load_recipe(None), plan_of(fingerprint()), channel=name) for name in ("T1", "US"))
    assert mr.patches.flip_axes == mr.evaluation.flip_axes == ("x",)
    assert (mr.augmentation.affine, mr.augmentation.noise, mr.augmentation.speckle) == (0.5, 0.2, 0.0)
    assert (ultrasound.augmentation.affine, ultrasound.augmentation.noise) == (0.5, 0.0)
    assert ultrasound.augmentation.speckle == 0.2
    sided = complete(load_recipe(None, ["augmentation.affine=0"]), plan_of(fingerprint()), muscle="femur_left")
    assert (sided.patches.flip_axes, sided.augmentation.affine, sided.augmentation.gamma) == ((), 0.0, 0.3)
    assert sided.evaluation.flip_axes == ()


def test_flat_volumes_turn_in_their_plane_unless_the_recipe_says_more() -> None:
    plan = plan_of(fingerprint(shape=(192, 192, 24), spacing_mm=(0.8, 0.8, 5.0), class_voxels=(800_000, 84_736)))
    assert complete(load_recipe(None), plan).augmentation.rotation_degrees == (0, 0, 15)
    own = load_recipe(None, ["augmentation.rotation_degrees=[5, 5, 5]"])
    assert complete(own, plan).augmentation.rotation_degrees == (5, 5, 5)
    assert complete(load_recipe(None), plan_of(fingerprint())).augmentation.rotation_degrees == (15, 15, 15)


@pytest.mark.parametrize(
    ("words", "axes"),
    [
        (["patches.flip_axes=[]"], ()),
        (["patches.flip_axes=['y', 'z']"], ("y",)),  # each doubles the time
        (["evaluation.flip_axes=[]"], ()),
        (["patches.flip_axes=[]", "evaluation.flip_axes=['x', 'y']"], ("x", "y")),
    ],
)
def test_masks_are_means_over_what_training_flips_first(words: list[str], axes: tuple[str, ...]) -> None:
    assert complete(load_recipe(None, words), plan_of(fingerprint())).evaluation.flip_axes == axes


def test_minutes_bound_a_run_where_epochs_are_not_given() -> None:
    assert complete(load_recipe(None), plan_of(fingerprint())).train.epochs == 100
    bounded = load_recipe(None, ["train.max_minutes=5"])
    assert complete(bounded, plan_of(fingerprint())).train.epochs == UNBOUNDED
    own = load_recipe(None, ["train.max_minutes=5", "train.epochs=7"])
    assert complete(own, plan_of(fingerprint())).train.epochs == 7


def test_a_run_goes_on_as_it_began_but_for_what_is_given_now() -> None:
    begun = complete(load_recipe(None, ["name=old", "train.max_minutes=5", "seed=3"]), plan_of(fingerprint()))
    words = ["name=renamed", "train.max_minutes=9", "network.skip=none"]
    now = as_begun(load_recipe(None, words), begun)
    assert (now.name, now.seed, now.train.max_minutes, now.network.skip) == ("renamed", 3, 9.0, "none")
    assert now.patches == begun.patches
    assert complete(now, plan_of(fingerprint(shape=(20, 20, 20)))) == now


@pytest.mark.parametrize(
    ("words", "size", "batch"),
    [
        ([], (96, 96, 96), 2),
        (["train.max_minutes=600"], (96, 96, 96), 2),
        (["train.max_minutes=5", "patches.size=[96, 96, 96]"], (96, 96, 96), 2),
        (["train.max_minutes=5", "network.filters=[8, 16]"], (96, 96, 96), 2),
    ],
)
def test_patches_are_the_plans_where_the_time_is_long_or_they_are_the_users(
    words: list[str], size: tuple[int, int, int], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_recipe, "voxels_of_a_step", lambda preset, precision, seconds: seconds * 1e6)
    patches = in_time(words).patches
    assert (patches.size, patches.batch_size) == (size, batch)


def test_little_time_means_smaller_patches_of_at_least_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """5 minutes hold 500 steps of 0.54 s, in which this machine computes 540,000 voxels."""
    monkeypatch.setattr(planned_recipe, "voxels_of_a_step", lambda preset, precision, seconds: seconds * 1e6)
    patches = in_time(["train.max_minutes=5"]).patches
    assert (patches.size, patches.batch_size) == ((64, 64, 64), 2)
    assert "64 x 64 x 64 x 2 instead of the 96 x 96 x 96 x 2 planned" in capsys.readouterr().err
    assert in_time(["train.max_minutes=10"]).patches.size == (64, 64, 64)  # 1000 steps of larger patches would be less
    assert in_time(["train.max_minutes=25"]).patches.size == (80, 80, 96)
    assert in_time(["train.max_minutes=40"]).patches.size == (96, 96, 96)
    assert in_time(["train.max_minutes=5", "patches.batch_size=1"]).patches.batch_size == 1
    assert in_time(["train.max_minutes=5", "network.norm=instance"]).patches == patches  # so that the two compare
    tiny = in_time(["train.max_minutes=0.01"]).patches
    assert (tiny.size, tiny.batch_size) == ((32, 32, 32), 2)


@pytest.mark.parametrize(
    ("words", "batch"),
    [
        (["train.max_minutes=10"], 2),  # some 900 steps of 4 patches
        (["train.max_minutes=60"], 4),
        (["train.max_minutes=10", "patches.batch_size=4"], 4),
        ([], 4),
    ],
)
def test_where_the_time_holds_few_steps_each_takes_fewer_patches(
    words: list[str], batch: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(planned_recipe, "voxels_of_a_step", lambda preset, precision, seconds: seconds * 1e6)
    recipe = load_recipe(None, words)
    patches = complete(recipe, planned_recipe._within_the_time(recipe, plan_of(fingerprint()))).patches
    assert (patches.size, patches.batch_size) == ((48, 64, 48), batch)
    assert ("a step takes 2 patches instead of the 4 planned" in capsys.readouterr().err) == (batch == 2)


def in_time(words: list[str]) -> Recipe:
    plan = plan_of(fingerprint(shape=(96, 96, 160), class_voxels=(1_400_000, 74_560)))
    assert plan.patch_size == (96, 96, 96)
    recipe = load_recipe(None, words)
    return complete(recipe, planned_recipe._within_the_time(recipe, plan))


def test_a_measured_step_plans_anew_what_the_table_does_not_know() -> None:
    plan = plan_of(fingerprint(shape=(96, 96, 160), class_voxels=(1_400_000, 74_560)))
    recipe = load_recipe(None, ["train.max_minutes=5", "network.filters=[8, 16]"])
    assert planned_recipe._within_the_time(recipe, plan).patch_size == (96, 96, 96)
    assert planned_recipe._within_the_time(recipe, plan, 1e-6).patch_size == (64, 64, 64)


def test_steps_are_counted_where_a_smaller_patch_is_possible() -> None:
    plan = plan_of(fingerprint(shape=(96, 96, 160), class_voxels=(1_400_000, 74_560)))

    def least(*words: str) -> int:
        recipe = load_recipe(None, words)
        return least_steps(recipe, complete(recipe, plan))

    assert least("train.max_minutes=5") == ENOUGH_STEPS / 2
    assert least() == 0
    assert least("train.max_minutes=5", "patches.size=[64, 64, 64]") == 0
    smallest = plan.model_copy(update={"patch_size": (32, 32, 32), "batch_size": 2})
    recipe = load_recipe(None, ["train.max_minutes=5", "patches.batch_size=2"])
    assert least_steps(recipe, complete(recipe, smallest)) == 0
