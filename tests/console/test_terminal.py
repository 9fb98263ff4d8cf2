"""Progress where no terminal shows a bar."""

import io

import pytest
from rich.console import Console
from turned_clock import Clock

from kseg.console import terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def told(items: object, clock: Clock, monkeypatch: pytest.MonkeyPatch, **console: bool) -> str:
    """What a job says whose items take ten seconds each."""
    file = io.StringIO()
    monkeypatch.setattr(terminal, "stderr", Console(file=file, width=120, highlight=False, **console))
    for _ in terminal.progress(items, "scoring"):
        clock.now += 10
    return file.getvalue()


def test_a_file_has_a_line_each_half_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(range(7), clock, monkeypatch) == "scoring: 3 of 7\nscoring: 6 of 7\n"
    assert told(iter(range(4)), clock, monkeypatch) == "scoring: 30 s\n"  # nobody knows what 3 would be of


def test_a_terminal_has_none(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "scoring: 3" not in told(range(7), clock, monkeypatch, force_terminal=True)


def test_a_short_job_says_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(range(2), clock, monkeypatch) == ""
