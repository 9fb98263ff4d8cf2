"""Histories: an epoch done twice counts once, and the speed of learning is a number worked by hand."""

from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.runs.history import epochs_to_share, read_history


def test_the_later_row_of_an_epoch_counts(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,val_dice\n0,0.25\n1,0.5\n1,0.75\n2,1.0\n", encoding="utf-8")
    assert read_history(path) == {"epoch": [0, 1, 2], "val_dice": [0.25, 0.75, 1.0]}


@pytest.mark.parametrize("text", ["epoch,val_dice\n0,high\n", "val_dice\n0.5\n", "epoch,val_dice\n0\n"])
def test_a_damaged_history_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"history\.csv' is damaged"):
        read_history(path)
    with pytest.raises(InputError, match="is missing"):
        read_history(tmp_path / "none.csv")


def test_epochs_to_a_share_of_the_last_value() -> None:
    epochs = [0, 2, 5, 6]  # that were validated
    assert epochs_to_share({"epoch": epochs, "val_dice": [0.1, 0.73, 0.6, 0.8]}, 0.9) == 3  # above 0.9 * 0.8 = 0.72
    assert epochs_to_share({"epoch": epochs, "val_dice": [0.1, 0.71, 0.6, 0.8]}, 0.9) == 7
    assert epochs_to_share({"epoch": [0, 1], "val_dice": [0.0, 0.0]}, 0.9) == 1
