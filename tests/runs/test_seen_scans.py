"""A scan that is unlike those of the training is told, and one that is like them is not."""

from pathlib import Path

import numpy as np
import pytest

from kseg.records.manifest import load_manifest
from kseg.runs.seen_scans import SeenScans

FINE, COARSE = (0.5, 0.5, 1.0), (0.6, 0.6, 1.5)
ULTRASOUND = ((0.0, 231.0), (0.0, 180.0))
CT = ((-1024.0, 1300.0), (-1000.0, 900.0))
MR = ((0.0, 900.0), (0.0, 2100.0), (-4.0, 1500.0))


def told(seen: tuple, own: tuple[float, float], spacing_mm: tuple[float, ...] = FINE) -> list[str]:
    statistics = np.array([[*own, np.mean(own), 50]], np.float32)
    return SeenScans(spacing_mm=(FINE, COARSE), intensities=(seen,)).differences(spacing_mm, statistics, ("image",))


@pytest.mark.parametrize("spacing_mm", [FINE, COARSE, (0.55, 0.5, 1.2), (0.42, 0.74, 1.8)])
def test_voxels_within_the_range_and_a_quarter_beyond_are_like_those_of_the_training(spacing_mm) -> None:
    assert told(ULTRASOUND, (0, 220), spacing_mm) == []


def test_other_voxels_are_told() -> None:
    assert told(ULTRASOUND, (0, 220), (0.5, 0.3, 1.2)) == [
        "voxels of 0.5 x 0.3 x 1.2 mm, in training 0.5 x 0.5 x 1 to 0.6 x 0.6 x 1.5 mm"
    ]
    seen = SeenScans(spacing_mm=(FINE, FINE), intensities=())
    assert seen.differences((0.5, 0.5, 3), np.zeros((0, 4)), ()) == [
        "voxels of 0.5 x 0.5 x 3 mm, in training 0.5 x 0.5 x 1 mm"
    ]


def test_where_nobody_knows_voxels_are_not_compared() -> None:
    assert SeenScans(intensities=()).differences((9, 9, 9), np.zeros((0, 4)), ()) == []


@pytest.mark.parametrize(
    ("seen", "own"),
    [
        (ULTRASOUND, (0, 90)),  # a low gain
        (ULTRASOUND, (5, 255)),
        (ULTRASOUND, (-3, 250)),  # a spline's overshoot
        (CT, (-1024, 3000)),
        (CT, (-150, 400)),  # cropped to the body
        (MR, (0, 4000)),
        (MR, (-20, 300)),
        (((-1.2, 4.0), (-0.9, 5.0)), (-1.5, 6.0)),  # normalised before
        (((-800.0, 900.0), (0.0, 255.0)), (0, 255)),  # some had values below 0, others none
    ],
)
def test_another_gain_crop_or_scanner_is_no_other_kind(seen, own) -> None:
    assert told(seen, own) == []


@pytest.mark.parametrize(
    ("seen", "own"),
    [
        (ULTRASOUND, (-1008, 1200)),
        (ULTRASOUND, (0, 1450)),
        (ULTRASOUND, (0.0, 1.0)),
        (CT, (0, 250)),
        (CT, (0, 2300)),  # another zero point
        (MR, (0, 60000)),
    ],
)
def test_intensities_of_another_kind_are_told(seen, own) -> None:
    low, high = min(one[0] for one in seen), max(one[1] for one in seen)
    assert told(seen, own) == [
        f"'image' from {own[0]:.4g} to {own[1]:.4g}, in training from {low:.4g} to {high:.4g}, by the 0.5 and 99.5 "
        "percentiles"
    ]


def test_a_dataset_tells_of_its_scans_but_those_to_test_on(tiny_dataset: Path) -> None:
    manifest = load_manifest(tiny_dataset)
    seen = SeenScans.of_manifest(manifest)
    assert seen.spacing_mm == (manifest.cases[0].spacing_mm,) * 2
    learned = [case for case in manifest.cases if case.split != "test"]
    assert len(seen.intensities[0]) == len(learned) < len(manifest.cases)
    for case, (low, high) in zip(learned, seen.intensities[0], strict=True):
        assert low == min(case.inside[0][0], case.outside[0][0])
        assert high == max(case.inside[0][1], case.outside[0][1])
        assert told(seen.intensities[0], (low, high)) == []
    resampled = manifest.model_copy(update={"spacing_mm": (1.0, 1.0, 1.0)})
    assert SeenScans.of_manifest(resampled).spacing_mm == ()
    cases = tuple(case.model_copy(update={"own_spacing_mm": FINE}) for case in manifest.cases)
    resampled = resampled.model_copy(update={"cases": cases})
    assert SeenScans.of_manifest(resampled).spacing_mm == (FINE, FINE)
    assert SeenScans.model_validate_json(seen.model_dump_json()) == seen
