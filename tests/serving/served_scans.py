"""Scans that are made up, and `kseg.predict --server` on them."""

from pathlib import Path

import nibabel as nib
import numpy as np
from running import Server

from kseg import predict

SPACING_MM = (1.1, 0.9, 0.5)


def volume(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def save(path: Path, array: np.ndarray, spacing_mm: tuple[float, ...] = SPACING_MM) -> Path:
    nib.save(nib.Nifti1Image(array, np.diag([*spacing_mm, 1])), path)
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def segment(server: Server | str, protocol: str, model: str, *words: object, out: Path) -> None:
    address = server if isinstance(server, str) else server.address(protocol)
    options = ["--server", address, "--protocol", protocol, "--out", str(out)]
    predict.main([model, *map(str, words), *options])
