"""Scores of a segmentation against the truth, per case and class, and their summary over cases.

Where a class is missing one rule decides: a share of nothing (0 / 0) is not scored. It is None and left out
of means, as in nnU-Net (Isensee et al., Nature Methods 2021). Hence, for a class that is

- in neither mask: nothing is scored;
- in the truth only: Dice, recall and normalised surface Dice 0, volume error -100 %; precision not scored;
- in the prediction only: Dice, precision and normalised surface Dice 0; recall, volume error not scored.

A surface is infinitely far from one that does not exist. HD95 is then the diagonal of the image, a distance
that no real error exceeds, as in the BraTS challenges (373.13 mm, the diagonal of 240 x 240 x 155): left out,
it would reward a network that predicts nothing.

Of a case that is labelled in part the labelled voxels alone are scored, by Dice, precision and recall. How far a
surface is, or how large a structure, cannot be told where nobody labelled: HD95, normalised surface Dice and volumes
are None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from scipy import ndimage
from surface_distance import (
    compute_robust_hausdorff,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

from kseg.measures.area_profile import voxel_mm3
from kseg.volumes.geometry import box_around, spacing_mm
from kseg.volumes.regions import Members, marks


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, or region, in one case; None where a score is not defined."""

    class_name: str
    dice: float | None
    precision: float | None
    recall: float | None
    hd95_mm: float | None
    nsd: float | None
    """Normalised surface Dice: share of both surfaces that lies within the tolerance of the other."""
    nsd_tolerance_mm: float
    truth_ml: float | None
    prediction_ml: float | None
    volume_error_percent: float | None
    """Signed: positive where the prediction is too large."""
    partly_labelled: bool = False
    """Whether the case has voxels that nobody labelled: the labelled ones alone are scored."""
    agreement: float | None = None
    """Of the opinions on the mask, 0 to 1 (`kseg.inference.uncertainty`): known without the truth."""
    expected_dice: float | None = None
    """What that makes one expect (`kseg.inference.expected_dice`), and the interval."""
    expected_dice_low: float | None = None
    expected_dice_high: float | None = None

    @property
    def absolute_volume_error_percent(self) -> float | None:
        """The volume error without its sign: the mean of signed ones hides those that cancel."""
        return None if self.volume_error_percent is None else abs(self.volume_error_percent)


@dataclass(frozen=True)
class Statistic:
    """One measure over `scored` scores; `worst_in` names the case, and the class where there are several."""

    mean: float
    median: float
    worst: float
    worst_in: str
    scored: int


@dataclass(frozen=True)
class Summary:
    """Statistics by measure, for each class and over the scores of all foreground classes.

    A measure that was never scored has no entry. The tolerances of the normalised surface Dice are the largest and the
    least of all cases. `partly_labelled` of the cases have voxels that nobody labelled: no surface or volume of these
    is scored.
    """

    cases: int
    nsd_tolerance_mm: float
    nsd_tolerance_least_mm: float
    classes: dict[str, dict[str, Statistic]]
    foreground: dict[str, Statistic]
    partly_labelled: int = 0


ROUNDING = 1e-5
"""Of spacings and distances, as a share: a distance that equals the tolerance is within it."""

BADNESS = {
    "dice": lambda value: -value,
    "precision": lambda value: -value,
    "recall": lambda value: -value,
    "hd95_mm": lambda value: value,
    "nsd": lambda value: -value,
    "volume_error_percent": abs,
    "absolute_volume_error_percent": lambda value: value,
}
"""The summarised measures of a `ClassScore`, and how bad a value is."""


def score_case(
    truth: np.ndarray,
    prediction: np.ndarray,
    affine: np.ndarray,
    class_names: Sequence[str],
    tolerance_mm: float,
    regions: Members = (),
) -> list[ClassScore]:
    """Score every foreground class of a case, or every region.

    Args:
        truth: class indices (x, y, z), 0 is background; above the last class's where nobody labelled a voxel.
        prediction: class indices (x, y, z) on the same grid.
        affine: 4x4, voxels to RAS mm.
        class_names: names of the classes 1, 2, ..., without the background.
        tolerance_mm: distance up to which two surfaces count as the same in `nsd`
            (`kseg.evaluation.surface_tolerance`).
        regions: where these are scored, the classes of each; `class_names` are then theirs.

    Surface distances are those of the `surface-distance` package (same authors): surface elements weighted
    by their area, HD95 the larger of the two directed 95th percentiles. That package takes the edges of voxels for
    perpendicular; volumes are those of the affine, whatever its edges.
    """
    edges_mm = spacing_mm(affine)
    diagonal_mm = float(np.linalg.norm(np.multiply(truth.shape, edges_mm)))
    members = regions or tuple((index,) for index in range(1, len(class_names) + 1))
    highest = max(map(max, members))
    labelled = truth <= highest
    partly_labelled = not labelled.all()
    if partly_labelled:
        truth, prediction = np.where(labelled, truth, 0), np.where(labelled, prediction, 0)
    boxes = [ndimage.find_objects(labels, highest) for labels in (truth, prediction)]
    scores = []
    for name, own in zip(class_names, members, strict=True):
        # Beyond all boxes of its classes a structure is nowhere: the rest of a large volume would only cost time.
        box = box_around(found[index - 1] for found in boxes for index in own)
        scores.append(
            _score_class(
                marks(truth[box], own),
                marks(prediction[box], own),
                class_name=name,
                edges_mm=edges_mm,
                of_voxel_mm3=voxel_mm3(affine),
                tolerance_mm=tolerance_mm,
                diagonal_mm=diagonal_mm,
                partly_labelled=partly_labelled,
            )
        )
    return scores


def mean_dice(scores: Sequence[ClassScore]) -> float | None:
    """Return a case's mean Dice over its classes; None where none is scored."""
    scored = [score.dice for score in scores if score.dice is not None]
    return fmean(scored) if scored else None


def summarise(scores_by_case: Mapping[str, Sequence[ClassScore]]) -> Summary:
    """Mean, median and worst of every measure, over the cases of each class and over all scores."""
    rows = [(case, score) for case, scores in scores_by_case.items() for score in scores]
    by_class: dict[str, list[tuple[str, ClassScore]]] = {}
    for case, score in rows:
        by_class.setdefault(score.class_name, []).append((case, score))
    return Summary(
        cases=len(scores_by_case),
        nsd_tolerance_mm=max(score.nsd_tolerance_mm for _, score in rows),
        nsd_tolerance_least_mm=min(score.nsd_tolerance_mm for _, score in rows),
        classes={name: _statistics(members) for name, members in by_class.items()},
        foreground=_statistics([(f"{case}, {score.class_name}", score) for case, score in rows]),
        partly_labelled=sum(any(score.partly_labelled for score in scores) for scores in scores_by_case.values()),
    )


def _score_class(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    class_name: str,
    edges_mm: Sequence[float],
    of_voxel_mm3: float,
    tolerance_mm: float,
    diagonal_mm: float,
    partly_labelled: bool,
) -> ClassScore:
    size_truth, size_prediction = int(truth.sum()), int(prediction.sum())
    hits = int((truth & prediction).sum())
    hd95_mm: float | None
    nsd: float | None
    if partly_labelled:
        hd95_mm, nsd = None, None
    elif size_truth and size_prediction:
        distances = compute_surface_distances(truth, prediction, edges_mm)
        hd95_mm = float(compute_robust_hausdorff(distances, 95))
        nsd = float(compute_surface_dice_at_tolerance(distances, tolerance_mm * (1 + ROUNDING)))
    elif size_truth or size_prediction:
        hd95_mm, nsd = diagonal_mm, 0.0
    else:
        hd95_mm, nsd = None, None
    return ClassScore(
        class_name=class_name,
        dice=_ratio(2 * hits, size_truth + size_prediction),
        precision=_ratio(hits, size_prediction),
        recall=_ratio(hits, size_truth),
        hd95_mm=hd95_mm,
        nsd=nsd,
        nsd_tolerance_mm=tolerance_mm,
        truth_ml=None if partly_labelled else size_truth * of_voxel_mm3 / 1000,
        prediction_ml=None if partly_labelled else size_prediction * of_voxel_mm3 / 1000,
        volume_error_percent=None if partly_labelled else _ratio(100 * (size_prediction - size_truth), size_truth),
        partly_labelled=partly_labelled,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _statistics(rows: Sequence[tuple[str, ClassScore]]) -> dict[str, Statistic]:
    statistics = {}
    for measure, badness in BADNESS.items():
        scored = [(where, value) for where, score in rows if (value := getattr(score, measure)) is not None]
        if scored:
            values = [value for _, value in scored]
            where, worst = max(scored, key=lambda pair: badness(pair[1]))
            statistics[measure] = Statistic(fmean(values), median(values), worst, where, len(scored))
    return statistics
