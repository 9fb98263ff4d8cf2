"""Inputs as the wild has them, drawn by the hundred: right in every command, or one line.

`KSEG_WILD=2000 python -m pytest tests/wild -s` draws 2,000 instead of 100, and prints what came of them. A failure
prints the input as the call that makes it, and a simpler one that fails alike; keep it in `rare.py`.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from holding import Labels, assert_holds, labels
from hypothesis import HealthCheck, Phase, given, settings
from rare import RARE
from wild_frames import Frames, frames
from wild_metaimage import MetaImage, metaimages
from wild_nifti import Nifti, niftis
from wild_nrrd import Nrrd, nrrds
from wild_series import Series, series

DRAWS = int(os.environ.get("KSEG_WILD", "100"))
outcomes: Counter[tuple[str, str, str]] = Counter()


def share(percent: int) -> settings:
    """So many of all draws, the same ones each time."""
    return settings(
        max_examples=max(1, DRAWS * percent // 100),
        derandomize=True,
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    for (family, owed, came), count in sorted(outcomes.items()):
        print(f"\n{family:10} to be {owed:16} {came:8} {count:5}", end="")


def check(scan: Any, label: Labels) -> None:
    """Hold kseg to what it owes; a failure is told by the simplest input that has it too."""
    try:
        outcomes[attempt(scan, label)] += 1
    except Exception as error:
        text = f"{type(error).__name__}: {error}\n{scan!r}, {label!r}\nin short: {simplest(scan, label)}"
        raise AssertionError(text) from error


def attempt(scan: Any, label: Labels) -> tuple[str, str, str]:
    with TemporaryDirectory() as folder:
        written = scan.write(Path(folder))
        return type(scan).__name__, written.verdict, assert_holds(written, Path(folder), label)


def failure(scan: Any, label: Labels) -> str:
    """What kind of failure an input gives, without its numbers; empty for none."""
    try:
        attempt(scan, label)
    except Exception as error:
        return type(error).__name__ + re.sub(r"\d|\W", "", str(error))[:40]
    return ""


def simplest(scan: Any, label: Labels) -> str:
    """Leave out what is odd, one thing after another, while the failure stays; Hypothesis' way takes minutes."""
    kind = failure(scan, label)
    while other := next((part for part in scan.simpler() if failure(part, label) == kind), None):
        scan = other
    while rest := next((part for part in label.simpler() if failure(scan, part) == kind), None):
        label = rest
    return f"{scan!r}, {label!r}"


@share(30)
@given(niftis, labels)
def test_nifti(scan: Nifti, label: Labels) -> None:
    check(scan, label)


@share(20)
@given(metaimages, labels)
def test_metaimage(scan: MetaImage, label: Labels) -> None:
    check(scan, label)


@share(20)
@given(nrrds, labels)
def test_nrrd(scan: Nrrd, label: Labels) -> None:
    check(scan, label)


@share(20)
@given(series, labels)
def test_dicom_series(scan: Series, label: Labels) -> None:
    check(scan, label)


@share(10)
@given(frames, labels)
def test_dicom_frames(scan: Frames, label: Labels) -> None:
    check(scan, label)


@pytest.mark.parametrize(("scan", "label"), RARE, ids=[f"{scan!r}, {label!r}" for scan, label in RARE])
def test_what_is_seldom_drawn(scan: Any, label: Labels) -> None:
    check(scan, label)
