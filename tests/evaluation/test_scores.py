"""Scores against hand-worked numbers, SimpleITK and the conventions for missing classes."""

from dataclasses import fields
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from kseg.evaluation.scores import BADNESS, ClassScore, score_case, summarise
from kseg.evaluation.surface_tolerance import tolerance_of
from kseg.measures.structures import measure_structures

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def box(shape: tuple[int, ...], start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = 1
    return labels


def grid(*spacing: float) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def score(truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], tolerance: float = 1.0) -> ClassScore:
    return score_case(truth, prediction, grid(*spacing), ["muscle"], tolerance)[0]


def itk(labels: np.ndarray, spacing: tuple[float, ...]) -> sitk.Image:
    image = sitk.GetImageFromArray(labels.T.astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing])
    return image


def itk_hd95(truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Larger of the directed 95th percentiles between border voxels, by distance maps of the borders."""
    contours = [sitk.LabelContour(itk(labels, spacing)) for labels in (truth, prediction)]
    maps = [np.abs(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(c, False, False, True))) for c in contours]
    borders = [sitk.GetArrayFromImage(c) > 0 for c in contours]
    return max(np.percentile(maps[0][borders[1]], 95), np.percentile(maps[1][borders[0]], 95))


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return (smooth > np.quantile(smooth, 0.9)).astype(np.uint8)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [1, 3])
def test_surface_dice_below_the_shift_is_the_share_near_the_rim(axis: int, voxels: int) -> None:
    """At a tolerance t < d agree the rim and, of the face within the other's rim, a strip of width t."""
    spacing = np.array((0.5, 1.25, 3.0))
    size = np.full(3, 100)
    size[axis] = 8
    truth = box((110, 110, 110), (2, 2, 2), tuple(size))
    tolerance_mm = 0.9 * voxels * spacing[axis]
    thickness_mm, (width_mm, height_mm) = (size * spacing)[axis], np.delete(size * spacing, axis)
    face, rim = width_mm * height_mm, 2 * thickness_mm * (width_mm + height_mm)
    strip = face - max(width_mm - 2 * tolerance_mm, 0) * max(height_mm - 2 * tolerance_mm, 0)
    result = score(truth, np.roll(truth, voxels, axis), tuple(spacing), tolerance_mm)
    assert result.nsd == pytest.approx((rim + strip) / (rim + 2 * face), abs=0.04)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [1, 3])
def test_parallel_plates_are_apart_by_their_shift(axis: int, voxels: int) -> None:
    """A plate moved by d mm along its normal: both faces, far more than 5 % of it, move by d, so HD95 = d."""
    spacing = (0.5, 1.25, 3.0)
    size = [160, 160, 160]
    size[axis] = 8
    start = [2, 2, 2]
    shape = (170, 170, 170)
    truth = box(shape, tuple(start), tuple(size))
    prediction = np.roll(truth, voxels, axis)
    shift_mm = voxels * spacing[axis]
    result = score(truth, prediction, spacing, tolerance=shift_mm)
    assert result.hd95_mm == pytest.approx(shift_mm)
    assert result.nsd == pytest.approx(1)
    assert result.dice == pytest.approx((8 - voxels) / 8)


def test_counts_of_two_boxes_worked_by_hand() -> None:
    """Truth 4 x 5 x 6 = 120 voxels, prediction 5 x 5 x 6 = 150, in common 3 x 5 x 6 = 90; a voxel 3 mm^3."""
    truth = box((20, 12, 12), (4, 3, 3), (4, 5, 6))
    prediction = box((20, 12, 12), (5, 3, 3), (5, 5, 6))
    result = score(truth, prediction, (1.0, 1.5, 2.0))
    assert result.dice == pytest.approx(180 / 270)
    assert result.precision == pytest.approx(90 / 150)
    assert result.recall == pytest.approx(90 / 120)
    assert result.truth_ml == pytest.approx(0.36)
    assert result.prediction_ml == pytest.approx(0.45)
    assert result.volume_error_percent == pytest.approx(25)
    assert score(prediction, truth, (1.0, 1.5, 2.0)).volume_error_percent == pytest.approx(-20)


def test_volumes_on_a_sheared_grid_are_those_of_the_table_of_measures() -> None:
    """A gantry tilted by 30 degrees: slices 2 mm apart along their axis are sqrt(3) mm apart across it."""
    affine = np.eye(4)
    affine[:3, 2] = (0, 1, np.sqrt(3))
    truth, prediction = box((8, 9, 12), (2, 1, 3), (3, 5, 8)), box((8, 9, 12), (2, 1, 3), (3, 6, 8))
    (result,) = score_case(truth, prediction, affine, ["muscle"], 1.0)
    assert result.truth_ml == pytest.approx(120 * np.sqrt(3) / 1000)
    assert result.prediction_ml == pytest.approx(144 * np.sqrt(3) / 1000)
    assert result.volume_error_percent == pytest.approx(20)
    for volume_ml, mask in ((result.truth_ml, truth), (result.prediction_ml, prediction)):
        assert volume_ml == measure_structures(mask, affine, {"muscle": [1]})["muscle"].volume_ml


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 2.5)])
def test_agrees_with_simpleitk(seed: int, spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    truth = blob(rng, (48, 40, 32))
    prediction = np.roll(truth, (2, -1, 1), (0, 1, 2)) | blob(rng, (48, 40, 32))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(itk(prediction, spacing), itk(truth, spacing))
    result = score(truth, prediction, spacing)
    assert result.dice == pytest.approx(overlap.GetDiceCoefficient(1))
    # Border voxels stand for the surface there, voxel corners here: apart by up to one voxel.
    assert result.hd95_mm == pytest.approx(itk_hd95(truth, prediction, spacing), abs=max(spacing))


@pytest.mark.skipif(not SHARED.is_dir(), reason="real scans absent: ../shared/data")
def test_agrees_with_simpleitk_on_a_real_label_map() -> None:
    path = SHARED / "msd_hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    image = nibabel.load(path)
    truth = np.asarray(image.dataobj).astype(np.uint8)
    spacing = tuple(float(s) for s in image.header.get_zooms()[:3])
    prediction = np.roll(truth, (1, 2, -1), (0, 1, 2))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(itk(prediction, spacing), itk(truth, spacing))
    scores = score_case(truth, prediction, grid(*spacing), ["anterior", "posterior"], 1.0)
    for index, result in enumerate(scores, start=1):
        assert result.dice == pytest.approx(overlap.GetDiceCoefficient(index))
        reference = itk_hd95(truth == index, prediction == index, spacing)
        assert result.hd95_mm == pytest.approx(reference, abs=max(spacing))


def test_a_class_scores_the_same_alone_and_among_others_and_anywhere_in_the_image() -> None:
    rng = np.random.default_rng(0)
    one, other = blob(rng, (30, 30, 30)), blob(rng, (30, 30, 30))
    alone = score(one, other, (1.0, 1.0, 2.0))
    truth, prediction = np.where(one, 3, 1).astype(np.uint8), np.where(other, 3, 1).astype(np.uint8)
    padding = [(5, 0), (0, 7), (3, 3)]
    among = score_case(np.pad(truth, padding), np.pad(prediction, padding), grid(1, 1, 2), ["a", "b", "muscle"], 1.0)
    assert among[2] == alone


def test_a_perfect_prediction() -> None:
    truth = blob(np.random.default_rng(1), (20, 20, 20))
    result = score(truth, truth.copy(), (1.0, 1.0, 1.0), tolerance=0)
    assert (result.dice, result.precision, result.recall, result.nsd) == (1, 1, 1, 1)
    assert (result.hd95_mm, result.volume_error_percent) == (0, 0)


def test_missing_classes_follow_the_stated_convention() -> None:
    empty, full = np.zeros((3, 4, 12), np.uint8), box((3, 4, 12), (1, 1, 1), (2, 2, 2))
    diagonal_mm = 26.0  # of 6 x 8 x 24 mm
    neither, missed, invented = (
        score(t, p, (2.0, 2.0, 2.0)) for t, p in ((empty, empty), (full, empty), (empty, full))
    )
    assert [getattr(neither, measure) for measure in BADNESS] == [None] * len(BADNESS)
    assert (missed.dice, missed.recall, missed.nsd, missed.precision) == (0, 0, 0, None)
    assert (missed.hd95_mm, missed.volume_error_percent) == (pytest.approx(diagonal_mm), -100)
    assert (invented.dice, invented.precision, invented.nsd, invented.recall) == (0, 0, 0, None)
    assert (invented.hd95_mm, invented.volume_error_percent) == (pytest.approx(diagonal_mm), None)


def class_score(name: str, dice: float | None, hd95_mm: float | None, volume_error_percent: float | None) -> ClassScore:
    return ClassScore(name, dice, dice, dice, hd95_mm, dice, 2.0, 1.0, 1.0, volume_error_percent)


def test_summary_worked_by_hand_and_the_worst_lies_in_the_bad_direction() -> None:
    scores = {
        "p1": [class_score("a", 0.9, 2.0, 5.0), class_score("b", None, None, None)],
        "p2": [class_score("a", 0.5, 9.0, -30.0), class_score("b", 0.4, 1.0, 2.0)],
        "p3": [class_score("a", 0.7, 4.0, 10.0), class_score("b", 0.8, 3.0, 4.0)],
    }
    summary = summarise(scores)
    dice, hd95, volume = (summary.classes["a"][m] for m in ("dice", "hd95_mm", "volume_error_percent"))
    assert (dice.mean, dice.median, dice.worst, dice.worst_in) == (pytest.approx(0.7), 0.7, 0.5, "p2")
    assert (hd95.mean, hd95.median, hd95.worst, hd95.worst_in) == (5.0, 4.0, 9.0, "p2")
    assert (volume.mean, volume.median, volume.worst, volume.worst_in) == (-5.0, 5.0, -30.0, "p2")
    assert summary.classes["b"]["dice"].scored == 2
    assert summary.foreground["dice"].mean == pytest.approx((0.9 + 0.5 + 0.7 + 0.4 + 0.8) / 5)
    assert summary.foreground["dice"].worst_in == "p2, b"
    assert (summary.cases, summary.foreground["dice"].scored, summary.nsd_tolerance_mm) == (3, 5, 2.0)


def test_volume_errors_that_cancel_are_seen_in_the_mean_without_signs() -> None:
    scores = {"p1": [class_score(name, 0.5, 1.0, error) for name, error in (("a", 39.0), ("b", 77.0), ("c", -80.0))]}
    foreground = summarise(scores).foreground
    assert foreground["volume_error_percent"].mean == pytest.approx(12)
    absolute = foreground["absolute_volume_error_percent"]
    assert (absolute.mean, absolute.worst, absolute.worst_in) == (pytest.approx(196 / 3), 80.0, "p1, c")


def test_a_summary_knows_the_range_of_tolerances() -> None:
    truth = box((9, 9, 9), (2, 2, 2), (4, 4, 4))
    scores = {str(tolerance): [score(truth, truth, (1, 1, 1), tolerance)] for tolerance in (2.5, 1.0, 1.5)}
    summary = summarise(scores)
    assert (summary.nsd_tolerance_least_mm, summary.nsd_tolerance_mm) == (1.0, 2.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 2.5), (0.7, 0.7, 0.7), (0.9, 0.4882812, 0.33)])
def test_a_mask_that_is_off_by_a_voxel_is_within_the_voxel(axis: int, spacing: tuple[float, ...]) -> None:
    truth = box((20, 20, 20), (5, 5, 5), (8, 8, 8))
    tolerance = tolerance_of(0.0, spacing)
    assert score(truth, np.roll(truth, 1, axis), spacing, tolerance).nsd == 1
    assert score(truth, np.roll(truth, 2, int(np.argmax(spacing))), spacing, tolerance).nsd < 1


def test_a_class_never_scored_has_no_statistics() -> None:
    summary = summarise({"p1": [class_score("a", None, None, None), class_score("b", 0.5, 1.0, 0.0)]})
    assert summary.classes["a"] == {}
    assert summary.foreground == {
        measure: statistic.__class__(statistic.mean, statistic.median, statistic.worst, "p1, b", 1)
        for measure, statistic in summary.classes["b"].items()
    }


def test_every_measure_of_a_score_is_summarised() -> None:
    others = {"class_name", "nsd_tolerance_mm", "truth_ml", "prediction_ml", "partly_labelled", "agreement"}
    others |= {"expected_dice", "expected_dice_low", "expected_dice_high"}
    derived = {"absolute_volume_error_percent"}
    assert {field.name for field in fields(ClassScore)} - others | derived == set(BADNESS)


def test_of_a_case_that_is_labelled_in_part_the_labelled_voxels_alone_are_scored() -> None:
    truth, prediction = np.zeros((2, 6, 5, 4), np.uint8)
    truth[0, :3], prediction[0, 1:4] = 1, 1
    truth[:, :, 1:] = 2  # nobody labelled what is not in the first rows
    (partly,) = score_case(truth, prediction, np.eye(4), ["leg"], 1.0)
    kept = np.s_[:, :, :1]
    (cut,) = score_case(truth[kept], prediction[kept], np.eye(4), ["leg"], 1.0)
    assert (partly.dice, partly.precision, partly.recall) == (cut.dice, cut.precision, cut.recall)
    assert partly.dice == pytest.approx(2 / 3)  # of three voxels each, two are in both, in all four planes
    unknown = (partly.hd95_mm, partly.nsd, partly.truth_ml, partly.prediction_ml, partly.volume_error_percent)
    assert unknown == (None,) * 5
    assert partly.partly_labelled and not cut.partly_labelled
    summary = summarise({"p1": [partly], "p2": [cut]})
    assert summary.partly_labelled == 1
    assert (summary.foreground["dice"].scored, summary.foreground["hd95_mm"].scored) == (2, 1)
