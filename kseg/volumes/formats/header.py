"""A volume in a file as every format describes it: what the header says, and a way to its voxels."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.console.errors import InputError

REAL = "biuf"
"""NumPy's kinds of types that hold real numbers; colours and complex numbers are refused."""

Read = Callable[[Iterable[int]], Iterator[np.ndarray]]
"""From numbers of planes to arrays `(i, j, planes)` or `(i, j, planes, channels)` of as many, one after another.

The numbers add up to the file's planes. `InputError` for damage, whether or not the voxels before it were given out.
"""


@dataclass(frozen=True)
class Header:
    """What a file says of its voxels before they are read.

    `shape` is (i, j, k) or (i, j, k, channels), i fastest on disk; `dtype` that of the arrays that `read` yields;
    `affine` maps (i, j, k) to RAS mm; `placed` is False where the file says nowhere where it lies; `unstated` names in
    words what of the voxels' size the file does not say ("the distance between its frames"), empty where it says all.
    `unstated_axes` are the axes (0, 1, 2) that it means; the affine has 1 mm along them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray
    placed: bool
    read: Read
    unstated: str = ""
    unstated_axes: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """Values of a voxel."""
        return self.shape[3] if len(self.shape) > 3 else 1


def reader_of(array: np.ndarray) -> Read:
    """Return how to read what is in memory already."""

    def read(counts: Iterable[int]) -> Iterator[np.ndarray]:
        first = 0
        for count in counts:
            yield array[:, :, first : first + count]
            first += count

    return read


def spacing_along(axes: Iterable[int]) -> str:
    """Words for `Header.unstated`: the distance between voxels along these axes."""
    *others, last = ("ijk"[axis] for axis in axes)
    return f"the distance between its voxels along {', '.join(others)}{' and ' if others else ''}{last}"


def damaged_file(path: Path, essence: str) -> InputError:
    """Return the error about a file that holds less, or something else, than it says."""
    return InputError(f"'{path}' cannot be read: {essence}; it may be damaged or cut short, fetch it anew.")


def absent_voxels(path: Path, file: Path | str) -> InputError:
    """Return the error about a header that names a file of voxels which is not there."""
    return InputError(f"'{path}' keeps its voxels in '{file}', which does not exist: put it there.")


def foreign_unit(path: Path, unit: str, field: str) -> InputError:
    """Return the error about a header whose unit of length common readers overlook."""
    return InputError(
        f"'{path}' gives its lengths in {unit} ({field}), which most readers take for mm: write them in mm."
    )
