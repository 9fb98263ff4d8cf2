"""Whether all forms of a run give the label maps of `kseg predict`: SavedModel, ONNX Runtime and engines.

    python tests/benchmarks/labels_of_forms.py RUN SCAN... [--threads 2]

A line for each scan and form, with the share of voxels whose label is the same, and last one JSON object. Exits with 1
where it is less than 99.99 % of a scan. The run's forms are those that `kseg export` wrote and that can run here.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from kseg.benchmark.predict import ENGINE, KERAS, ONNX, RTX, SAVED_MODEL, find_sides, latest_saved_model
from kseg.inference.local_predictor import LocalPredictor
from kseg.runs.run_folder import open_run
from kseg.volumes.prediction_inputs import find_inputs
from kseg.volumes.read import open_image
from kseg.volumes.volume_stream import VolumeStream, gather

LEAST_SHARE = 0.9999


class ServedModel:
    """The SavedModel's signature for a scan's type of voxels, in TensorFlow."""

    def __init__(self, path: str):
        import tensorflow as tf

        self._tf, self._signatures = tf, tf.saved_model.load(path).signatures

    def labels(self, scan: VolumeStream, name: str) -> np.ndarray:
        voxels = gather(scan, name).array
        signature = f"segment_{voxels.dtype}" if voxels.dtype.itemsize <= 2 else "segment"
        given = {"voxels": self._tf.constant(voxels[np.newaxis])}
        given["spacing_mm"] = self._tf.constant(np.float32(scan.spacing_mm)[np.newaxis])
        return self._signatures[signature](**given)["labels"].numpy()[0]


class Local:
    """`kseg predict`, with the Keras model or what `load` opens."""

    def __init__(self, run: str, load=None):
        self._predictor = LocalPredictor(run, load=load)
        self._predictor.start()

    def labels(self, scan: VolumeStream, name: str) -> np.ndarray:
        return self._predictor.segment(scan, name, iter).values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    sides, missing = find_sides(run)
    for reason in missing.values():
        print(f"left out: {reason}", file=sys.stderr)
    forms = {side: _open(side, arguments.run, arguments.threads) for side in sides}
    channels = len(run.load_data_description().channels)
    report = []
    for scan in find_inputs(arguments.scans, channels).scans:
        expected = None
        for side, form in forms.items():
            started = time.monotonic()
            labels = form.labels(open_image(scan.channels, scan.path.name), scan.path.name)
            seconds = time.monotonic() - started
            expected = labels if expected is None else expected
            same = float(np.mean(labels == expected))
            foreground = int(np.count_nonzero(labels))
            report.append({"scan": scan.path.name, "form": side, "same": same, "foreground": foreground})
            print(f"{scan.path.name} {labels.shape} {side}: {same:.4%} as kseg predict's, "
                  f"{foreground} voxels labelled, {seconds:.1f} s", flush=True)  # fmt: skip
    worst = {side: min(one["same"] for one in report if one["form"] == side) for side in sides}
    print(json.dumps({"run": arguments.run, "least_share": worst, "scans": report}))
    sys.exit(min(worst.values()) < LEAST_SHARE)


def _open(side: str, run: str, threads: int) -> Local | ServedModel:
    from kseg.deployment.engine_description import RtxDescription, TensorRTDescription
    from kseg.deployment.engine_file import open_engine_of
    from kseg.deployment.onnx_file import open_onnx

    if side == SAVED_MODEL:
        return ServedModel(latest_saved_model(open_run(run)))
    loads = {
        KERAS: None,
        ONNX: lambda member: open_onnx(member.onnx, threads),
        ENGINE: partial(open_engine_of, TensorRTDescription),
        RTX: partial(open_engine_of, RtxDescription),
    }
    return Local(run, loads[side])


if __name__ == "__main__":
    main()
