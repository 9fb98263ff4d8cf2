"""TensorBoard in a real browser: a grid's curves, pictures and hyperparameters are there to be seen."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright import sync_api


@pytest.fixture(scope="module")
def address(finished_study: Path) -> Iterator[str]:
    """Where TensorBoard shows the runs of the small grid."""
    words = ["--logdir", "saved_models/study", "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    command = [sys.executable, "-m", "tensorboard.main", *words]
    with subprocess.Popen(command, cwd=finished_study, stderr=subprocess.PIPE, text=True) as board:
        try:
            yield next(found[0] for line in board.stderr if (found := re.search(r"http://\S+", line)))
        finally:
            board.terminate()


def test_the_curve_of_alpha(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}#timeseries")
    card = page.locator("card-view", has=page.get_by_text("epoch_alpha", exact=True)).first
    card.get_by_text("shared/seed-1/logs/train").wait_for()  # the table under the curve
    line = card.locator("line-chart svg path, line-chart canvas").first
    line.wait_for()
    assert line.bounding_box()["width"] > 100  # from the first epoch to the last, not a point


def test_a_picture_of_truth_and_prediction(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}#images")
    picture = page.locator("tf-image-loader img").first
    picture.wait_for()
    sync_api.expect(picture).to_have_js_property("complete", True, timeout=120_000)
    assert picture.evaluate("image => image.naturalWidth") > 300


def test_the_table_of_hyperparameters(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}#hparams")
    table = page.locator("tf-hparams-table-view")
    for heading in ("network.share_kernel", "test volumes: Dice"):
        table.get_by_text(heading).first.wait_for()
    rows = table.locator(".table-cell", has_text=re.compile(r"^\s*(preset|false)\s*$"))
    rows.nth(1).wait_for()
    assert sorted(text.strip() for text in rows.all_inner_texts()) == ["false", "preset"]
