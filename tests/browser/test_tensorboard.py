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


def test_it_opens_on_dice_and_loss(page: sync_api.Page, address: str) -> None:
    page.goto(address)
    page.locator("card-view").get_by_text("Loss", exact=True).first.wait_for()
    titles = [text.split("\n")[0].strip() for text in page.locator("card-view").all_inner_texts()]
    opened = [title for title in titles if title]
    assert opened[0] == "Dice"
    assert {title.split("/")[0] for title in opened} == {"Dice", "Loss"}


def test_alpha_and_beta_stand_in_one_chart(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}#timeseries")
    page.get_by_role("combobox", name="Filter tags (regex)").fill("penalties")
    card = page.locator("card-view", has=page.get_by_text("Tversky penalties", exact=True)).first
    for name in ("alpha", "beta"):
        card.get_by_text(f"shared/seed-1/logs/{name}").wait_for()  # the table under the curves
    line = card.locator("line-chart svg path, line-chart canvas").first
    line.wait_for()
    assert line.bounding_box()["width"] > 100  # from the first epoch to the last, not a point


def test_a_picture_of_truth_and_prediction(page: sync_api.Page, address: str) -> None:
    page.goto(f"{address}#images")
    page.get_by_text("tag: Validation patches/leg_").first.wait_for()
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
