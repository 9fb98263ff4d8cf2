"""Working folders in which a command must refuse, and change nothing."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError

TINY = """
name = "leg"
[data]
records = "tfrecords/leg"
[phantom]
subjects = 4
shape = [16, 16, 16]
[patches]
size = [8, 8, 8]
[grid]
seeds = [1]
[grid.axes.norm]
batch = []
"""
PHANTOM = ["--shape", "16", "16", "16", "--out", "made"]
VALUE = 7


def prepared_already() -> Path:
    return Path(shutil.copytree("datasets/leg", "tfrecords/leg"))


def scan(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(0).integers(1, 99, (5, 6, 7)).astype(np.uint8)
    array[0, 0, 0] = 101
    if path.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array.T), path, ".mhd" not in path)
    return Path(path)


def tree(folder: str = ".") -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def refused(command: Callable[[Sequence[str]], None], words: Sequence[str], match: str, capsys=None) -> str:
    """Run a command that must refuse and change nothing; return what it said."""
    before = tree()
    with pytest.raises(InputError, match=match) as error:
        command(words)
    assert tree() == before
    return str(error.value) + (capsys.readouterr().err if capsys else "")


def link(path: str, to: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(Path(to).resolve())
    return path
