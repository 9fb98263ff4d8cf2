"""The masks of a leg by the Keras model of a run and by its engine."""

import numpy as np
import SimpleITK as sitk

from kseg import phantom, predict


def segment_both(run, folder, shape):
    """Make a leg of `shape` voxels in a folder, let both segment it, and return their masks: see `read_both`."""
    phantom.main(["--out", str(folder / "scans"), "--shape", *map(str, shape), "--format", "mha"])
    for name, options in {"keras": [], "engine": ["--engine"]}.items():
        predict.main([run, str(folder / "scans" / "images"), "--out", str(folder / name), *options])
    return read_both(folder)


def read_both(folder) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks in the folders `keras` and `engine`."""
    one, other = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name / "leg_001.mha"))) for name in ("keras", "engine")
    )
    return one, other
