"""Precision and recall of each class as the threshold of its probability moves from 0 to 1."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg.runs.owned_files import unusable
from kseg.storage.files import whole_file
from kseg.volumes.regions import Structures

THRESHOLDS = np.linspace(0.0, 1.0, 101)
COLUMNS = ("class", "threshold", "true_positives", "false_positives", "false_negatives", "precision", "recall")


class ThresholdCounts:
    """Counts voxels batch by batch; a voxel is predicted to be of a class if its probability reaches the threshold.

    Args:
        structures: the classes without the background, or the regions.
    """

    def __init__(self, structures: Structures):
        self._structures = structures
        # outside and inside the class
        self._histograms = np.zeros((2, structures.count, len(THRESHOLDS)), np.int64)

    def add(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Count labels `(batch, x, y, z)` and probabilities `(batch, x, y, z, classes)`, background first.

        Of regions probabilities are `(batch, x, y, z, regions)`. A voxel that nobody labelled, whose label is `classes`
        or more, does not count.
        """
        labelled = labels < self._structures.num_classes
        steps = len(THRESHOLDS) - 1
        for number in range(self._structures.count):
            likely = probabilities[..., number - self._structures.count].astype(np.float64)
            reached = np.floor(np.clip(likely, 0, 1) * steps).astype(np.intp)
            truth = self._structures.marks(labels, number)
            for inside in (0, 1):
                members = reached[labelled & (truth == inside)]
                self._histograms[inside, number] += np.bincount(members, minlength=steps + 1)

    @property
    def positives(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives, each `(num_foreground, thresholds)`."""
        outside, inside = (np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1] for histogram in self._histograms)
        return inside, outside

    @property
    def missed(self) -> np.ndarray:
        """False negatives, `(num_foreground, thresholds)`."""
        true, _ = self.positives
        return true[:, :1] - true

    @property
    def voxels(self) -> int:
        """Voxels counted."""
        return int(self._histograms[:, 0].sum())

    def precision_and_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Return precision and recall, each `(num_foreground, thresholds)`; a share of nothing is 1."""
        true, false = self.positives
        predicted, truth = true + false, true[:, :1]
        precision = np.where(predicted > 0, true / np.maximum(predicted, 1), 1.0)
        return precision, np.where(truth > 0, true / np.maximum(truth, 1), 1.0)


def write_precision_recall(counts: ThresholdCounts, class_names: Sequence[str], path: Path) -> None:
    """Write the curves as CSV, a row for each class and threshold."""
    true, false = counts.positives
    missed = counts.missed
    precision, recall = counts.precision_and_recall()
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, name in enumerate(class_names):
            for at, threshold in enumerate(THRESHOLDS):
                errors = (true[row, at], false[row, at], missed[row, at])
                shares = (f"{precision[row, at]:.6f}", f"{recall[row, at]:.6f}")
                writer.writerow([name, f"{threshold:.2f}", *errors, *shares])


def read_precision_recall(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall by threshold, means over the classes, of a file that was written here.

    Raises:
        InputError: the file is missing or damaged.
    """
    shares: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                shares.setdefault(row["class"], []).append((float(row["precision"]), float(row["recall"])))
        curves = np.array([shares[name] for name in shares]).reshape(-1, len(THRESHOLDS), 2)
    except FileNotFoundError:
        raise unusable(path) from None
    except (KeyError, TypeError, ValueError) as error:
        raise unusable(path, error) from None
    precision, recall = curves.mean(axis=0).T
    return precision, recall
