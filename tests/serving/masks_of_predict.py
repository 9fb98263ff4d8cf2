"""Keep scans beside the label maps of `kseg.predict`, for `check_plain.py`, which has NumPy alone to read them.

    python tests/serving/masks_of_predict.py RUN SCAN... --out DIR

Prints how long `kseg.predict` took for all of them, and how much memory.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from kseg.volumes.prediction_inputs import find_inputs
from kseg.volumes.read import open_image, read_volume
from kseg.volumes.volume_stream import gather
from kseg.volumes.write import mask_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    command = [sys.executable, "-m", "kseg.predict", arguments.run, *map(str, arguments.scans)]
    subprocess.run([*command, "--out", str(arguments.out), "--force"], check=True)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds, memory_gb = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(
        f"kseg.predict: {seconds:.1f} s, {cpu_seconds:.1f} s of processors, {memory_gb:.2f} GB at most, start included"
    )
    for scan in find_inputs(arguments.scans, arguments.channels).scans:
        image = open_image(scan.channels, scan.path.name)
        name = mask_files(scan.path, image.stored.extension)[0]
        voxels = gather(image, scan.path.name).array
        labels = read_volume(arguments.out / name).array
        np.savez(arguments.out / f"{name}.npz", voxels=voxels, spacing_mm=np.float32(image.spacing_mm), labels=labels)


if __name__ == "__main__":
    main()
