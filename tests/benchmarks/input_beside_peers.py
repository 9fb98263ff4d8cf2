"""kseg's input pipeline beside MONAI's and TorchIO's: patches a second, in turn in one run, and memory.

Usage: python tests/benchmarks/input_beside_peers.py PYTHON_WITH_PEERS [--shape 320 320 320] [--volumes 2] [--patch 96
96 96]
                                                     [--seconds 10] [--repeats 3] [--sides kseg monai ...]
"""

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import nibabel as nib
import numpy as np

from kseg import prepare
from kseg.benchmark.worker_process import start_worker

HERE = Path(__file__).parent
PEERS = ("monai", "monai-indices", "torchio")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="a Python that has MONAI and TorchIO")
    parser.add_argument("--shape", type=int, nargs=3, default=(320, 320, 320))
    parser.add_argument("--volumes", type=int, default=2)
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--seconds", type=float, default=10.0, help="of drawing, each time a side has its turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="+", default=["kseg", *PEERS], choices=["kseg", *PEERS])
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=Path("build").resolve()) as folder, ExitStack() as stack:
        make_volumes(Path(folder), arguments.volumes, tuple(arguments.shape))
        options = {"folder": folder, "patch": arguments.patch, "seconds": arguments.seconds}
        workers = {
            side: stack.enter_context(
                start_worker(
                    [sys.executable, str(HERE / "input_kseg.py"), json.dumps(options)]
                    if side == "kseg"
                    else [arguments.python, str(HERE / "input_peers.py"), json.dumps(options | {"side": side})]
                )
            )
            for side in arguments.sides
        }
        rates = {side: [] for side in workers}
        for number in range(arguments.repeats + 1):
            for side, worker in workers.items():
                rate = worker.ask("draw")
                if number > 0:
                    rates[side].append(rate)
        report = {
            side: {"patches_per_s": statistics.median(runs), "peak_bytes": workers[side].ask("peak")}
            for side, runs in rates.items()
        }
    ours = report.get("kseg", {}).get("patches_per_s")
    for side, figures in report.items():
        ratio = f"   kseg draws {ours / figures['patches_per_s']:.1f} times as many" if ours and side != "kseg" else ""
        print(
            f"{side:14s} {figures['patches_per_s']:7.1f} patches/s   peak {figures['peak_bytes'] / 1e9:.2f} GB{ratio}"
        )
    print(json.dumps(report))


def make_volumes(folder, count, shape):
    """Write uint8 volumes with a labelled box in each, 4 % of it, as NIfTI and as kseg's dataset."""
    rng = np.random.default_rng(0)
    rows = ["case,subject,split,image,label"]
    for number in range(count):
        labels = np.zeros(shape, np.uint8)
        labels[tuple(slice(int(0.3 * n), int(0.65 * n)) for n in shape)] = 1
        for kind, array in (("image", rng.integers(0, 255, shape, np.uint8)), ("label", labels)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{kind}{number}.nii")
        rows.append(f"case_{number},case_{number},train,image{number}.nii,label{number}.nii")
    (folder / "cases.csv").write_text("\n".join(rows))
    labels = "data.labels={background=0, muscle=1}"
    prepare.main([f"data.source={folder / 'cases.csv'}", labels, f"data.records={folder / 'records'}"])


if __name__ == "__main__":
    main()
