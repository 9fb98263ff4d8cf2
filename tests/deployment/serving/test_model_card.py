"""The model card of an ensemble whose dataset is gone, and of names that a table must survive."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from kseg.report import model_card
from kseg.report.model_card import NO_LICENCE, write_model_card
from kseg.runs.data_description import DataDescription
from kseg.runs.trained_run import open_trained
from kseg.storage.listing import is_listed
from kseg.volumes.labels import LabelMap


@pytest.fixture
def exported(exported, tmp_path):  # type: ignore[no-untyped-def]
    """A copy, to which a card may be added."""
    run = open_trained(str(shutil.copytree(exported.run.folder.path, tmp_path / "abdomen")))
    return exported._replace(run=run, path=run.folder.path / "1")


def card_of(exported, **changes) -> str:  # type: ignore[no-untyped-def]
    pipeline = replace(exported.pipeline, **changes)
    path = write_model_card(exported.run, pipeline, exported.path, "abdomen", exported.difference, None)
    assert path == exported.run.folder.path / "MODEL_CARD.md"
    return Path(path).read_text(encoding="utf-8")


def test_the_card_says_what_a_caller_must_know(exported) -> None:  # type: ignore[no-untyped-def]
    card = card_of(exported)
    for text in (
        "# abdomen, version 1",
        "the mean of 2 networks",
        f"Licence: {NO_LICENCE}",
        "CT: clipped to -150 ... 250, as in the dataset's foreground, less 40, by 120; MR: any unit",
        "resampled to 1 x 0.8 x 1.5 mm",
        "8 x 12 x 10 voxels, overlapping by 0.4, averaged over flips along x, z",
        "organ fill_holes + largest_component (Dice 0.5000 -> 0.6000)",
        "`int16`: 0 background, -100 organ, 300 vessel",
        "The prepared dataset is not at hand any more",
        "Not measured on test cases",
        "(1, x, y, z, 2) int16",
    ):
        assert text in card, text


def test_the_server_that_it_starts_listens_to_its_own_machine_only(exported) -> None:  # type: ignore[no-untyped-def]
    command = card_of(exported).partition("docker run ")[2].partition("```")[0].split()
    ports = [word for before, word in pairwise(command) if before == "-p"]
    assert ports == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


@pytest.mark.parametrize(
    ("folder", "mount"),
    [
        ("saved_models/leg", "$PWD/saved_models/leg"),
        ("/data/my legs", "/data/my legs"),
        ('/a"b$c`d', r"/a\"b\$c\`d"),
    ],
)
def test_the_run_is_mounted_from_where_it_is(folder: str, mount: str) -> None:
    assert model_card.mounted(Path(folder)) == mount


def test_the_card_is_listed_before_it_is_there(exported) -> None:  # type: ignore[no-untyped-def]
    card_of(exported)
    assert is_listed(exported.run.folder.path, "MODEL_CARD.md")


def test_names_do_not_break_its_tables(exported) -> None:  # type: ignore[no-untyped-def]
    label_map = LabelMap(("background", "a | b", "[x] <b>"), (0, -100, 300))
    rows = [line for line in card_of(exported, label_map=label_map).splitlines() if line.startswith("| labels |")]
    assert rows == [r"| labels | `int16`: 0 background, -100 a \| b, 300 \[x\] \<b> |"]


def test_the_split_of_a_dataset_that_changed_is_not_told_as_the_runs(exported, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(model_card, "load_manifest", lambda folder: None)
    monkeypatch.setattr(DataDescription, "difference", lambda description, manifest: "")
    monkeypatch.setattr(DataDescription, "split_changes", lambda description, manifest: ["subject 'a' was train"])
    assert "not at hand any more: 'tfrecords/phantom' has another split now." in card_of(exported)
