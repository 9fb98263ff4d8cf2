"""What several folders of tests share: a tiny prepared dataset, recipes that go with it, a finished grid of runs."""

import os
import sys
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

SWEEP = """
name = "study"
[data]
records = "{records}"
[patches]
size = [16, 16, 16]
[network]
filters = [2]
dilation_rates = [1, 2]
[train]
epochs = 2
steps_per_epoch = 2
validation_patches = 4
[grid]
seeds = [1]
[grid.axes.kernel]
shared = []
learned = ["network.share_kernel=false"]
"""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Weights that a test draws do not depend on the tests before it, of which files side by side make any order."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_words() -> tuple[str, ...]:
    """Overrides that make a recipe tiny."""
    return TINY


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


@pytest.fixture(scope="session")
def laboratory(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which both runs of a small grid are finished; not to be changed."""
    from kseg import sweep

    folder = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("study.toml").write_text(SWEEP.format(records=tiny_dataset.as_posix()), encoding="utf-8")
        sweep.main(["study.toml", "--jobs", str(min(2, len(os.sched_getaffinity(0))))])
    return folder
