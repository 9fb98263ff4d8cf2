"""What several folders of tests share: a tiny prepared dataset, and the recipe that goes with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe

TINY = (
    "name=tiny",
    "phantom.subjects=5",
    "phantom.shape=[24, 24, 32]",
    "patches.size=[16, 16, 16]",
    "network.filters=[2, 4]",
    "network.dilation_rates=[1, 2]",
)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a prepared phantom dataset: 3 subjects to train on, 1 to validate, 1 to test."""
    from kseg.records.scans import find_scans
    from kseg.records.write import write_dataset

    folder = tmp_path_factory.mktemp("tfrecords") / "tiny"
    recipe = load_recipe(None, [*TINY, f"data.records={folder}"])
    write_dataset(recipe, find_scans(recipe))
    return folder


@pytest.fixture
def tiny_recipe(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    """Make a recipe for the tiny dataset from `"section.key=value"` overrides; runs go to an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: load_recipe(None, [*TINY, f"data.records={tiny_dataset}", *overrides])
