"""Reports opened from disk in a real browser: their pictures are there, and nothing is asked of a network."""

from pathlib import Path

import pytest
from playwright import sync_api


@pytest.mark.parametrize(
    ("report", "pictures"),
    [
        # Of a grid: its figure, and for each of two choices a case.
        ("saved_models/study/report.html", 3),
        # Of a run: curves, the case.
        ("saved_models/study/shared/seed-1/evaluation/test.html", 2),
    ],
)
def test_a_report_needs_nothing_but_its_file(
    report: str, pictures: int, finished_study: Path, tmp_path: Path, page: sync_api.Page
) -> None:
    alone = tmp_path / "report.html"
    alone.write_bytes((finished_study / report).read_bytes())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(alone.as_uri())
    images = page.locator("img")
    assert images.count() == pictures
    widths = images.evaluate_all("images => images.map(image => image.complete ? image.naturalWidth : 0)")
    assert min(widths) > 300
    elsewhere = [url for url in asked if not url.startswith(("data:", alone.as_uri()))]
    assert elsewhere == []
    assert "seed = 1" in page.locator("pre").inner_text()
