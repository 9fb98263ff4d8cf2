"""Whether a SavedModel gives the label maps of `kseg.predict` where there is TensorFlow, and nothing of kseg or Keras.

    .venv-plain/bin/python tests/serving/check_plain.py SAVED_MODEL DIR

DIR is from `masks_of_predict.py`. Prints a line for each scan, with the voxels that differ, and exits with 1 if they
are more than 0.01 % of one.
"""

import argparse
import importlib.util
import resource
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

MAX_DIFFERING = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("saved_model")
    parser.add_argument("cases", type=Path)
    arguments = parser.parse_args()
    for package in ("keras", "kseg"):
        if importlib.util.find_spec(package):
            sys.exit(f"{package} is installed here: what is shown would be nothing")
    started = time.monotonic()
    signatures = tf.saved_model.load(arguments.saved_model).signatures
    print(f"TensorFlow {tf.__version__}, loaded in {time.monotonic() - started:.1f} s: {sorted(signatures)}")
    cases = sorted(arguments.cases.glob("*.npz"))
    if not cases:
        sys.exit(f"{arguments.cases} has no cases")
    worst, total = 0.0, 0.0
    for path in cases:
        with np.load(path) as case:
            voxels, spacing_mm, expected = case["voxels"], case["spacing_mm"], case["labels"]
        name = "segment" if voxels.dtype.itemsize > 2 else f"segment_{voxels.dtype}"
        started = time.monotonic()
        given = {"voxels": tf.constant(voxels[np.newaxis]), "spacing_mm": tf.constant(spacing_mm[np.newaxis])}
        labels = signatures[name](**given)["labels"].numpy()[0]
        seconds = time.monotonic() - started
        differing = int(np.count_nonzero(labels != expected))
        worst, total = max(worst, differing / labels.size), total + seconds
        found = dict(zip(*(array.tolist() for array in np.unique(labels, return_counts=True)), strict=True))
        print(
            f"{path.stem}: {name} {labels.shape} {seconds:.1f} s, {differing} of {labels.size} differ; labels {found}"
        )
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds, memory_gb = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(f"{len(cases)} scans: {total:.1f} s; of one scan {worst:.6%} of the voxels differ at most")
    print(f"{cpu_seconds:.1f} s of processors, {memory_gb:.2f} GB at most, start included")
    imported = {"keras", "kseg"} & {name.split(".")[0] for name in sys.modules}
    if imported or worst > MAX_DIFFERING:
        sys.exit(f"imported {sorted(imported)}, differing {worst:.4%}")


if __name__ == "__main__":
    main()
