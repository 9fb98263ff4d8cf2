"""Scans in memory, and the jobs that write them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.records.scans import Scan, ScanList, scan_in_memory
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume

LABELS = LabelMap(("background", "muscle"), (0, 100))
AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


def volumes(number: int) -> tuple[Volume, np.ndarray]:
    """Image (x, y, z, 1) and class indices of case `number`."""
    rng = np.random.default_rng(number)
    shape = (5 + number % 3, 4, 3)
    image = rng.integers(0, 200, (*shape, 1)).astype(np.int16)
    return Volume(image, AFFINE, StoredGeometry(shape, AFFINE, ".nii.gz")), rng.integers(0, 2, shape).astype(np.uint8)


def refuse(case: str) -> NoReturn:
    """Open a bad scan."""
    raise InputError(f"image of case '{case}' is empty: scan again")


def make_scans(train: int = 7, val: int = 1, test: int = 0, bad: tuple[str, ...] = ()) -> ScanList:
    """Scans `case_0`, `case_1`, ... of `volumes`, each of its own subject."""
    found: list[Scan] = []
    for number, split in enumerate(["train"] * train + ["val"] * val + ["test"] * test):
        scan = scan_in_memory(f"case_{number}", f"case_{number}", split, *volumes(number))
        found.append(replace(scan, open=partial(refuse, scan.case)) if scan.case in bad else scan)
    return ScanList(("mr",), LABELS, tuple(found))


@pytest.fixture
def scans() -> Callable[..., ScanList]:
    return make_scans


@pytest.fixture
def case_volumes() -> Callable[[int], tuple[Volume, np.ndarray]]:
    return volumes
