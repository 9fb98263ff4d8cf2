"""The arithmetic of the page "Ten thousand scans": tables follow from figures, and these stand where it says."""

import math
import re
from pathlib import Path

import pytest

from kseg.inference.windows import windows

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "many_scans.md").read_text(encoding="utf-8")
SHAPE = (512, 512, 1443)
PATCH = (96, 96, 96)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page, without its head."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text: str) -> float:
    """The number with which a cell begins."""
    return float(re.match(r"[\d.,]+", text)[0].replace(",", ""))


FIGURES = {row[0].strip("`"): number(row[1]) for row in rows("Figures")}


def figures(*names: str) -> list[float]:
    return [FIGURES[name] for name in names]


def same(found: str, expected: float) -> bool:
    """Whether a cell is a number, rounded to the digits that it shows."""
    text = re.match(r"[\d.,]+", found)[0].replace(",", "")
    decimals = len(text.partition(".")[2])
    return text == f"{expected:.{decimals}f}" or math.isclose(float(text), float(f"{expected:.2g}"))


def test_a_leg_is_counted_right() -> None:
    legs, voxels, windows_half, windows_quarter = figures("legs", "V", "W", "W25")
    assert (legs, voxels) == (10_000, math.prod(SHAPE))
    assert windows_half == len(windows(SHAPE, PATCH, 0.5))
    assert windows_quarter == len(windows(SHAPE, PATCH, 0.25))


@pytest.mark.parametrize("name", FIGURES)
def test_figures_stand_where_the_page_says(name: str) -> None:
    *_, source = next(row for row in rows("Figures") if row[0] == f"`{name}`")
    quotations = re.findall(r"\[(\w+\.md)[^]]*\]\([^)]*\), \"([^\"]+)\"", source)
    assert len(quotations) == source.count(".md#")
    for page, quoted in quotations:
        assert quoted in " ".join((DOCS / page).read_text(encoding="utf-8").split()), name


def test_bytes_and_hours_of_preparing_follow() -> None:
    legs, voxels, per_million, read = figures("legs", "V", "p", "R")
    seconds = per_million * voxels / 1e6
    found = {row[0]: row[2] for row in rows("Preparing")}
    assert same(found["scans and labels"], 2 * legs * voxels / 1e12)
    assert same(found["shards"], legs * voxels / 1e12)
    assert same(found["seconds a leg"], seconds)
    assert same(found["hours of one process"], legs * seconds / 3600)
    assert same(found["hours on 64 processes"], legs * seconds / 3600 / 64)
    assert same(found["hours that one file server needs to read and write"], 3 * legs * voxels / read / 1e6 / 3600)


def test_the_share_of_the_exchange_follows() -> None:
    step, parameters, small = figures("s", "P", "m")
    networks = {"10 Gbit/s": figures("B10", "a10"), "200 Gbit/s": figures("B200", "a200")}
    found = rows("Training")
    assert len(found) == 8
    for workers, network, gradients, others, share, rate in found:
        bandwidth, latency = networks[network]
        ring = 2 * (number(workers) - 1)
        of_gradients = ring / number(workers) * 4 * parameters / (bandwidth * 1e6) + ring * latency / 1000
        of_others = small * ring * latency / 1000
        assert same(gradients, of_gradients)
        assert same(others, of_others)
        assert same(share, 100 * (of_gradients + of_others) / (step + of_gradients + of_others))
        assert same(rate, number(workers) * step / (step + of_gradients + of_others))


def test_hours_of_predicting_follow() -> None:
    legs, voxels, read, measuring = figures("legs", "V", "R", "M")
    moved = 2 * voxels / (read * 1e6)
    other = moved + measuring
    found = rows("Predicting")
    for what, per_window, count in (
        ("two cores, overlap 0.5", "wc", "W"),
        ("two cores, overlap 0.25", "wc", "W25"),
        ("a GPU, overlap 0.5", "wg", "W"),
        ("a GPU, overlap 0.25", "wg", "W25"),
    ):
        (row,) = (row for row in found if row[0] == what)
        network = max(FIGURES[per_window], FIGURES["b"]) * FIGURES[count] / 1000
        assert same(row[1], network)
        assert same(row[2], other)
        assert same(row[3], legs * (network + other) / 3600)
        assert same(row[4], legs * max((network + other) / 64, moved) / 3600)
