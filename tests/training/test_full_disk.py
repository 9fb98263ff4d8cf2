"""A disk that fills up, or a folder that goes, while a run is trained: one line, and what was finished stays."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.nn.segmenter import Segmenter
from kseg.recipe.sections import Recipe
from kseg.runs.owned_files import RUN
from kseg.runs.run_folder import RunFolder
from kseg.storage.ownership import check_replaceable
from kseg.training import checkpoints


def test_a_run_whose_disk_is_full_goes_on_as_if_nothing_had_happened(
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    train: Callable[..., Any],
    outcome: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, undisturbed = tiny_recipe(*smallest), tiny_recipe(*smallest, "name=undisturbed")
    folder = RunFolder(recipe.run_folder)
    save = Segmenter.save

    def takes_no_more(model: Any, path: Path) -> None:
        if folder.history.is_file() and len(folder.history.read_text().splitlines()) > 1:  # after the first epoch
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(model, path)

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "save", takes_no_more)
        wanted = (
            "^'saved_models/tiny/[^']*': No space left on device: free space on that disk, then go on with --resume$"
        )
        with pytest.raises(InputError, match=wanted):
            train(recipe)
    assert [path.name for path in folder.saved_checkpoints] == ["epoch-000000"]
    assert not list(folder.path.rglob(".partial-*"))
    train(recipe, resume=True)
    train(undisturbed)
    (state, weights, history), (its_state, its_weights, its_history) = (
        outcome(RunFolder(one.run_folder)) for one in (recipe, undisturbed)
    )
    assert (state, history) == (its_state, its_history)
    for one, other in zip(weights, its_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    check_replaceable(folder.path, RUN)


def test_a_run_whose_folder_goes_says_so(
    tiny_recipe: Callable[..., Recipe],
    smallest: tuple[str, ...],
    train: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(*smallest, "train.epochs=2")
    write = checkpoints.Checkpoint.on_epoch_end

    def after_it_is_gone(self: Any, *arguments: Any) -> None:
        shutil.rmtree(recipe.run_folder)
        write(self, *arguments)

    monkeypatch.setattr(checkpoints.Checkpoint, "on_epoch_end", after_it_is_gone)
    with pytest.raises(InputError, match=r"^'saved_models/tiny/recipe\.toml': No such file or directory: put it back"):
        train(recipe)
    assert not (recipe.run_folder / "model.keras").exists()
