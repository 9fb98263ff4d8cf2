"""How a run begins: its folder appears whole and can be resumed, and what it was told to do it does."""

from collections.abc import Callable

import pytest
import tensorflow as tf
from descriptions import MUSCLE

from kseg.console.errors import InputError
from kseg.recipe.sections import Recipe
from kseg.records.manifest import load_manifest
from kseg.runs.run import Run
from kseg.runs.run_folder import RunFolder
from kseg.training import start_run as start_run_module
from kseg.training.checkpoints import load_checkpoint
from kseg.training.start_run import start_run
from kseg.training.workers import Workers

ALONE = Workers(tf.distribute.get_strategy())


def run_of(recipe: Recipe) -> Run:
    manifest = load_manifest(recipe.records_folder)
    return Run(recipe, RunFolder(recipe.run_folder), recipe.records_folder, manifest, MUSCLE)


def test_a_run_that_is_killed_while_it_begins_leaves_what_was_there(
    tiny_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe("network.filters=[2]")
    run = run_of(recipe)
    folder = run.folder
    start_run(run, False, ALONE)
    model, state = load_checkpoint(folder, MUSCLE)
    assert (state.epochs_done, state.steps_done, int(model.optimizer.iterations)) == (0, 0, 0)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start_run_module, "write_checkpoint", fail)
    with pytest.raises(KeyboardInterrupt):
        start_run(run, False, ALONE)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_workers_that_begin_otherwise_are_told_on_all_of_them() -> None:
    class Pair(Workers):
        """Two workers, of which the other gives other numbers."""

        def sums(self, values: list[float]) -> list[float]:  # type: ignore[override]
            return [values[0] + 1.0]

    with pytest.raises(InputError, match="of 2 workers begin otherwise than the first"):
        Pair(tf.distribute.get_strategy(), count=2).check_alike("a recipe")


@pytest.mark.parametrize("deterministic", [True, False])
def test_operations_are_made_deterministic_where_the_recipe_says_so(
    deterministic: bool, tiny_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    recipe = tiny_recipe("network.filters=[2]", f"train.deterministic={str(deterministic).lower()}")
    start_run(run_of(recipe), False, ALONE)
    assert bool(asked) is deterministic
