"""The page in one file, for the worst cases of a split: it holds coarse copies, and can be mailed."""

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.evaluation.case_pictures import WORST
from kseg.evaluation.scores import ClassScore, mean_dice
from kseg.records.manifest import Manifest
from kseg.runs.trained_run import TrainedRun
from kseg.storage.files import whole_file
from kseg.viewer.page import NIIVUE, SCRIPT, STYLE, asset, described, page, within_script
from kseg.viewer.reduced_volume import Copy, reduced_image, reduced_labels, reduction_factors
from kseg.viewer.scene import OpenCase, Scene, SceneCase, Structure
from kseg.viewer.scene_of_run import scored_case, structures_of_run
from kseg.viewer.volume_files import measured_masks, nifti

MOST_BYTES = 20_000_000
"""Of the file: what mail servers commonly take is 25 MB."""
FOR_PAGE = 4_000_000
"""Of these for the page itself, NiiVue with it."""
MOST_VOXELS = 2**22
"""Of a copy, where its bytes would allow more."""
DARKEST, BRIGHTEST = 0.1, 99.9
"""Percentiles between which grey values have 256 steps; what lies beyond is cut off."""


@dataclass(frozen=True)
class _Kept:
    case: SceneCase
    files: dict[str, bytes]
    """Compressed, by their address behind that of the case."""


class WorstCases:
    """Keeps copies of the worst cases as they come, and writes them into one page.

    Args:
        structures: that masks hold, as `kseg.viewer.scene_of_run` numbers them.
        channels: names of the images' channels, of which the first is shown.
    """

    def __init__(self, structures: Sequence[Structure], channels: Sequence[str]) -> None:
        self.structures = structures
        self.channel = channels[0]
        self._kept: list[_Kept] = []

    def see(self, name: str, opened: OpenCase, scores: Sequence[ClassScore]) -> None:
        """Copy a case, if it is one of the worst so far.

        Args:
            name: of the case.
            opened: its volumes.
            scores: of its classes.
        """
        dice = mean_dice(scores)
        if dice is None or (len(self._kept) >= WORST and dice >= _dice(self._kept[-1])):
            return
        case = scored_case(name, (self.channel,), [*opened.masks], _not_kept, scores)
        kept = _Kept(case, _files(opened, self.structures))
        self._kept = sorted([*self._kept, kept], key=_dice)[:WORST]

    def write(self, path: Path, title: str) -> str:
        """Write the page, of at most `MOST_BYTES`, and return a line that says so; without a case there is none."""
        if not self._kept:
            return f"no page {path}: no case could be scored"
        scene = Scene(title, [kept.case for kept in self._kept], self.structures)
        files = {
            f"case/{number}/{address}": b64encode(content).decode()
            for number, kept in enumerate(self._kept)
            for address, content in kept.files.items()
        }
        text = page(
            title,
            style=asset(STYLE).decode(),
            niivue=asset(NIIVUE).decode(),
            script=asset(SCRIPT).decode(),
            embedded=within_script({"scene": described(scene), "files": files}),
        )
        content = text.encode()
        with whole_file(path) as partial:
            partial.write_bytes(content)
        return f"to look at, or to mail: {path} ({len(content) / 1e6:.1f} MB)"


def worst_cases_of(trained: TrainedRun, manifest: Manifest) -> WorstCases:
    """Return what keeps the worst cases of a run on a dataset."""
    partly_labelled = any(case.partly_labelled for case in manifest.cases)
    structures = structures_of_run(trained.description.label_map, partly_labelled)
    return WorstCases(structures, trained.description.channels)


def _not_kept() -> OpenCase:
    """A case's volumes are large: the copies alone stay in memory."""
    raise RuntimeError("the volumes of a case are not kept")


def _dice(kept: _Kept) -> float:
    return kept.case.dice or 0.0


def _files(opened: OpenCase, structures: Sequence[Structure]) -> dict[str, bytes]:
    """Return the volumes of a case, so coarse that five such cases fit into the page, and its measures."""
    values = [one.values for one in structures]
    most_bytes = (MOST_BYTES - FOR_PAGE) // WORST * 3 // 4  # four letters stand for three bytes
    table = gzip.compress(json.dumps(measured_masks(opened, structures), allow_nan=False).encode())
    most_voxels = MOST_VOXELS
    while True:
        factors = reduction_factors(opened.image.shape, opened.image.spacing_mm, most_voxels)
        image = _in_256_steps(reduced_image(opened.image, 0, factors))
        copies = {"image/0.nii": nifti(image, factors)}
        for number, mask in enumerate(opened.masks.values()):
            copies[f"mask/{number}.nii"] = nifti(reduced_labels(mask, values, factors), factors)
        files = {address: gzip.compress(content) for address, content in copies.items()} | {"measures.json": table}
        if sum(map(len, files.values())) <= most_bytes:
            return files
        most_voxels //= 2


def _in_256_steps(copy: Copy) -> Copy:
    """Return an image in bytes, with the scale that brings its grey values back."""
    if copy.array.dtype == np.uint8:
        return copy
    low, high = np.percentile(copy.array, [DARKEST, BRIGHTEST]).tolist()
    slope = (high - low) / 255 or 1.0
    steps = np.clip(np.rint((copy.array.astype(np.float32) - low) / slope), 0, 255)
    return Copy(steps.astype(np.uint8), copy.affine, slope, low)
