"""A working folder with two scans, a recipe and its dataset; a predictor that stands in for a trained run."""

from pathlib import Path

import pytest
from refusal import TINY, VALUE, scan
from threshold import Threshold

from kseg import predict, prepare


@pytest.fixture
def source(monkeypatch) -> Threshold:
    """Its masks are 7 in one corner (`scan`)."""
    threshold = Threshold(100, VALUE)
    monkeypatch.setattr(predict, "_open_predictor", lambda *_: threshold)
    return threshold


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """The dataset of the recipe, prepared."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    prepare.main([str(folder / "tiny.toml"), f"data.records={folder / 'leg'}"])
    return folder / "leg"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, dataset) -> Path:
    """A working folder with two scans and a recipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("leg.nii.gz", "arm.nii.gz"):
        scan(f"scans/{name}")
    Path("tiny.toml").write_text(TINY, encoding="utf-8")
    Path("datasets").symlink_to(dataset.parent)
    return tmp_path
