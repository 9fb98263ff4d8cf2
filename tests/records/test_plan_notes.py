"""Notes that a plan and a recipe have together: none of what the recipe settles itself."""

from types import SimpleNamespace

from made_plans import fingerprint, plan_of

from kseg.recipe.load import load_recipe
from kseg.records.fingerprint import Fingerprint
from kseg.records.plan import fitted
from kseg.records.plan_notes import plan_notes


def notes(*cases: Fingerprint, channels: tuple[str, ...] = ("image",), words: tuple[str, ...] = ()) -> list[str]:
    plan = plan_of(*cases, channels=channels)
    manifest = SimpleNamespace(
        to_learn_from=cases, plan=plan, channels=channels, plan_for=lambda recipe: fitted(plan, cases, recipe)
    )
    return plan_notes(manifest, load_recipe(None, list(words)))  # type: ignore[arg-type]


def test_what_looks_like_ct_and_is_not_named_so_is_said() -> None:
    (note,) = notes(fingerprint())
    assert "'image' looks like CT in Hounsfield units" in note
    assert 'train with data.normalisation=["ct"]' in note
    two = fingerprint(
        inside=((-100.0, 300.0, 80.0, 40.0),) * 2,
        outside=((0.0, 900.0, 300.0, 99.0), (-1000.0, 1000.0, 0.0, 300.0)),
    )
    assert 'data.normalisation=["zscore", "ct"]' in notes(two, channels=("image_1", "image_2"))[0]
    for other in (fingerprint(outside=((0.0, 1000.0, 0.0, 300.0),)), fingerprint(outside=((-1000.0, 20.0, 0.0, 9.0),))):
        assert notes(other) == []
    assert notes(fingerprint(), channels=("image_t1",)) == []
    assert notes(fingerprint(), words=('data.normalisation=["zscore"]',)) == []
    assert notes(fingerprint(class_voxels=(63_000, 0), inside=())) == []  # 'ct' needs foreground


def test_a_patch_that_sees_next_to_nothing_of_a_volume_is_said_with_a_spacing() -> None:
    leg = fingerprint(
        shape=(512, 512, 1443), spacing_mm=(0.28, 0.28, 0.28), class_voxels=(512 * 512 * 1443 - 10**7, 10**7)
    )
    (note,) = notes(leg, channels=("US",))
    assert "a patch of 96 x 96 x 96 voxels sees 27 x 27 x 27 mm, 0.2% of a volume" in note
    assert "set data.spacing_mm = [0.57, 0.57, 0.57] and prepare again with --force" in note
    assert "cut into 9 times fewer windows" in note
    assert "48 x 48 x 48 voxels" in notes(leg, channels=("US",), words=("patches.size=[48, 48, 48]",))[0]
    coarser = fingerprint(
        shape=(252, 252, 709), spacing_mm=(0.57, 0.57, 0.57), class_voxels=(252 * 252 * 709 - 10**6, 10**6)
    )
    assert notes(coarser, channels=("US",)) == []
