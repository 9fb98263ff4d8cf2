"""What several folders of tests share: a tiny prepared dataset, recipes that go with it, a finished grid of runs."""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest
import worker_processes
from recipes import recipe_text

from kseg.recipe.load import load_recipe
from kseg.recipe.sections import Recipe
from kseg.storage.files import lock

pytest_addoption = worker_processes.add_option
pytest_configure = worker_processes.configure

TINY = (
    "name=tiny",
    "phantom.subjects=5",
    "phantom.shape=[24, 24, 32]",
    "patches.size=[16, 16, 16]",
    "patches.flip_axes=[]",
    *(f"augmentation.{transform}=0" for transform in ("affine", "gamma", "noise", "speckle", "depth_gain")),
    "network.preset=midl2021",
    "network.filters=[2, 4]",
    "network.dilation_rates=[1, 2]",
    "loss.parametric_tversky=1",
    "train.optimizer=adam",
    "train.ema=0",
    "train.precision=float32",
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Weights that a test draws do not depend on the tests before it, of which files side by side make any order."""
    if "keras" in sys.modules:
        tensorflow = sys.modules.get("tensorflow")
        # TensorFlow's own seed is left alone: setting it throws away what TensorFlow has made of functions that several
        # tests call, and nothing here draws by it.
        kept = mock.patch.object(tensorflow.random, "set_seed") if tensorflow else nullcontext()
        with kept:
            sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_words() -> tuple[str, ...]:
    """Overrides that make a recipe tiny."""
    return TINY


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return the folder of a name, that a function has filled once for all processes of these tests; not to change."""
    given = os.environ.get(worker_processes.SHARED_FOLDER)
    shared = Path(given) if given else tmp_path_factory.mktemp("shared")

    def made(name: str, fill: Callable[[Path], None]) -> Path:
        folder, whole = shared / name, shared / f"{name}.whole"
        with (shared / f"{name}.lock").open("w") as file:
            lock(file)
            if not whole.exists():
                folder.mkdir()  # fails where filling it has failed: once is enough
                fill(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def tiny_dataset(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Folder of a prepared phantom dataset: 3 subjects to train on, 1 to validate, 1 to test; not to change."""

    def prepare(folder: Path) -> None:
        from kseg.records.scans import find_scans
        from kseg.records.write import write_dataset

        recipe = load_recipe(None, [*TINY, f"data.records={folder / 'tiny'}"])
        write_dataset(recipe, find_scans(recipe))

    return made_once("tfrecords", prepare) / "tiny"


@pytest.fixture(scope="session")
def tiny_recipe_anywhere(tiny_dataset: Path) -> Callable[..., Recipe]:
    """Make a recipe for the tiny dataset from `"section.key=value"` overrides."""
    return lambda *overrides: load_recipe(None, [*TINY, f"data.records={tiny_dataset}", *overrides])


@pytest.fixture
def tiny_recipe(
    tiny_recipe_anywhere: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Recipe]:
    """The same, where runs go to an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tiny_recipe_anywhere


@pytest.fixture(scope="session")
def finished_study(tiny_dataset: Path, made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A working folder in which both runs of the sweep `study.toml` are finished; not to change."""

    def run_sweep(folder: Path) -> None:
        from kseg import sweep

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            grid = {"seeds": [1], "axes": {"kernel": {"shared": [], "learned": ["network.share_kernel=false"]}}}
            network, train = {"dilation_rates": [1, 2]}, {"validation_patches": 4}
            text = recipe_text("study", data={"records": str(tiny_dataset)}, network=network, train=train, grid=grid)
            Path("study.toml").write_text(text, encoding="utf-8")
            sweep.main(["study.toml", "--jobs", str(min(2, len(os.sched_getaffinity(0))))])

    return made_once("study", run_sweep)
