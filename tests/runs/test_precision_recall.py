"""Precision and recall at each threshold: against a comparison voxel by voxel, and by hand."""

import csv

import numpy as np

from kseg.runs.precision_recall import THRESHOLDS, ThresholdCounts, write_precision_recall
from kseg.volumes.regions import Structures


def test_counts_equal_a_comparison_voxel_by_voxel():
    rng = np.random.default_rng(0)
    counts = ThresholdCounts(Structures(3))
    batches = [(rng.integers(0, 3, (2, 5, 4, 3)), rng.dirichlet(np.ones(3), (2, 5, 4, 3))) for _ in range(3)]
    for labels, probabilities in batches:
        counts.add(labels, probabilities.astype(np.float32))
    labels, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    true, false = counts.positives
    precision, recall = counts.precision_and_recall()
    assert counts.voxels == labels.size
    for index in (1, 2):
        for at in (0, 1, 37, 80, 99):
            predicted, inside = probabilities[..., index] >= THRESHOLDS[at], labels == index
            assert true[index - 1, at] == (predicted & inside).sum()
            assert false[index - 1, at] == (predicted & ~inside).sum()
            if predicted.any():
                assert precision[index - 1, at] == (predicted & inside).sum() / predicted.sum()
            assert recall[index - 1, at] == (predicted & inside).sum() / inside.sum()


def test_a_share_of_nothing_is_one_and_a_certain_voxel_reaches_every_threshold(tmp_path):
    counts = ThresholdCounts(Structures(3))
    one_hot = np.eye(3, dtype=np.float32)
    counts.add(np.array([0, 1]).reshape(1, 2, 1, 1), one_hot[[0, 1]].reshape(1, 2, 1, 1, 3))
    write_precision_recall(counts, ["there", "absent"], tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 101
    there = {row["threshold"]: row for row in rows if row["class"] == "there"}
    assert (there["0.00"]["precision"], there["0.00"]["recall"]) == ("0.500000", "1.000000")
    assert (there["1.00"]["precision"], there["1.00"]["recall"]) == ("1.000000", "1.000000")
    assert there["1.00"]["false_negatives"] == "0"
    absent = [row for row in rows if row["class"] == "absent"]
    assert {row["recall"] for row in absent} == {"1.000000"}
    assert absent[0]["precision"] == "0.000000"
    assert absent[-1]["precision"] == "1.000000"
