"""What a folder's listing says is kseg's: files of that folder, as they were written; whoever wrote the listing."""

import hashlib
import json
from pathlib import Path

import pytest

from kseg.storage.listing import LISTING, changed_files, is_listed, list_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "run"
    inside.mkdir()
    (inside / "card.md").write_text("a card")
    (tmp_path / "thesis.txt").write_text("years")
    return inside


def test_a_file_is_listed_until_somebody_changes_it(folder: Path) -> None:
    list_files(folder, {"card.md": folder / "card.md"})
    assert is_listed(folder, "card.md")
    assert changed_files(folder.parent) == set()
    (folder / "card.md").write_text("a card, filled in")
    assert not is_listed(folder, "card.md")
    assert changed_files(folder.parent) == {"run/card.md"}


@pytest.mark.parametrize("name", ["../thesis.txt", "{folder}/../thesis.txt", "sub/../../thesis.txt"])
def test_a_strangers_listing_claims_nothing_outside_its_folder(folder: Path, name: str) -> None:
    name = name.format(folder=folder)
    digest = hashlib.sha256(b"years").hexdigest()
    (folder / LISTING).write_text(json.dumps({"file": name, "sha256": digest}) + "\n")
    assert not is_listed(folder, name)
    assert changed_files(folder.parent) == set()


@pytest.mark.parametrize("line", ["", "{", "[1]", "7", '{"file": 3, "sha256": "a"}', '{"sha256": "a"}', "\x00\xff"])
def test_a_line_that_lists_nothing_is_passed_over(folder: Path, line: str) -> None:
    (folder / LISTING).write_text(f"{line}\n", encoding="latin-1")
    list_files(folder, {"card.md": folder / "card.md"})
    assert is_listed(folder, "card.md")
    assert changed_files(folder) == set()
