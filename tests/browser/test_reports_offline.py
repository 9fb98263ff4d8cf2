"""Reports opened from disk in a real browser: their pictures are there, and nothing is asked of a network."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Environment, PackageLoader
from playwright import sync_api

from kseg.evaluation.measure_agreement import Agreement, MeasureAgreement, StructureAgreement
from kseg.report.agreement_table import agreement_table
from kseg.report.case_table import CaseTable


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


def test_the_agreement_of_measures_fits_a_page_of_700_pixels(tmp_path: Path, page: sync_api.Page) -> None:
    correlation = {"icc": 0.98765, "icc_low": 0.95123, "icc_high": 0.99666}
    volume = Agreement(12, 1.62775, 0.01925, 0.14093, -0.25698, 0.29548, **correlation)
    length = Agreement(12, 152.345, -11.234, 15.678, -41.96, 19.49, **correlation)
    area = Agreement(12, 1523.4, -211.23, 456.78, -1106.5, 684.1, **correlation)
    measures = {"volume_ml": volume, "length_mm": length, "largest_area_mm2": area, "image_mean": length}
    of_one = StructureAgreement(12, 1, 2, 3, measures)
    part = SimpleNamespace(measures=agreement_table(MeasureAgreement({"gastrocnemius_lateralis": of_one, "b": of_one})))
    environment = Environment(loader=PackageLoader("kseg.report"))
    table = environment.from_string('{% import "parts.html" as parts %}{{ parts.measures(part) }}').render(part=part)
    head, _, foot = environment.get_template("page.html").render(title="", version="").partition("<footer>")
    (tmp_path / "page.html").write_text(f"{head}{table}<footer>{foot}", encoding="utf-8")
    page.set_viewport_size({"width": 700, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    shown, needed = page.locator("table").evaluate("table => [table.clientWidth, table.scrollWidth]")
    assert needed <= shown <= 700


def test_a_click_on_a_heading_sorts_the_cases(tmp_path: Path, page: sync_api.Page) -> None:
    rows = [["leg_10", "0.900", "-"], ["leg_9", "0.100", "12.0"], ["leg_2", "0.500", "3.5"]]
    part = SimpleNamespace(cases=rows, overview=CaseTable(["case", "mean Dice", "HD95 mm"], rows))
    environment = Environment(loader=PackageLoader("kseg.report"))
    table = environment.from_string('{% import "parts.html" as parts %}{{ parts.overview(part) }}').render(part=part)
    script = environment.get_template("page.html").render(title="", version="").partition("<script>")[2]
    (tmp_path / "page.html").write_text(f"{table}<script>{script}", encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())

    def order() -> list[str]:
        return page.locator("tbody td:first-child").all_inner_texts()

    page.get_by_text("case", exact=True).click()
    assert order() == ["leg_2", "leg_9", "leg_10"]
    page.get_by_text("mean Dice").click()
    assert order() == ["leg_9", "leg_2", "leg_10"]
    page.get_by_text("mean Dice").press("Enter")
    assert order() == ["leg_10", "leg_2", "leg_9"]
    page.get_by_text("HD95 mm").click()
    assert order() == ["leg_2", "leg_9", "leg_10"]
    page.get_by_text("HD95 mm").click()
    assert order() == ["leg_9", "leg_2", "leg_10"]  # what has no number stays last
