"""A patch that is larger than all volumes is told of; what pooling adds to one is not."""

from collections.abc import Callable

import pytest

from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.runs.oversized_patch import oversized_patch
from kseg.runs.planned_recipe import planned_recipe


def test_the_planned_patch_is_never_too_large(tiny_recipe: Callable[..., Recipe]) -> None:
    manifest = load_manifest(tiny_recipe().records_folder)
    assert oversized_patch(planned_recipe(load_recipe(None), manifest), manifest) == ""
    for size in ([24, 24, 32], [8, 8, 8]):
        assert oversized_patch(tiny_recipe(f"patches.size={list(size)}"), manifest) == ""


@pytest.mark.parametrize(
    ("size", "empty", "enough"), [([48, 24, 32], 50, [24, 24, 32]), ([48, 48, 64], 88, [24, 24, 32])]
)
def test_a_patch_beyond_every_volume_is_told_of_before_training(
    size: list[int],
    empty: int,
    enough: list[int],
    tiny_recipe: Callable[..., Recipe],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tiny_recipe(f"patches.size={size}")
    manifest = load_manifest(recipe.records_folder)
    planned_recipe(recipe, manifest)
    said = capsys.readouterr().err
    assert f"note: patches.size = {size} reaches beyond all volumes of '{recipe.data.records}', which have " in said
    assert f"24 x 24 x 32 voxels at most: {empty}% or more of each patch is empty" in said
    assert f"; patches.size={enough} holds as much" in said
