"""`kseg.predict` on scans that do not state their spacing: refused, or read by one that the user or the run gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from threshold import Threshold

from kseg import predict
from kseg.console.errors import InputError

HEADER = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\n{}"
    "DimSize = 4 5 6\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
VOXELS = np.random.default_rng(0).integers(0, 200, (4, 5, 6), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, spacing in (("silent.mha", ""), ("half.mha", "ElementSpacing = 0.3 0 2.5\n")):
        (tmp_path / name).write_bytes(HEADER.format(spacing).encode() + VOXELS.tobytes("F"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "of_the_run", "expected"),
    [
        (["data.assume_spacing_mm=[0.3, 0.4, 2.5]"], (), (0.3, 0.4, 2.5)),
        ([], (0.3, 0.4, 2.5), (0.3, 0.4, 2.5)),
        (["data.assume_spacing_mm=[0.3, 1, 2.5]"], (0.3, 0.4, 2.5), (0.3, 1, 2.5)),
        (["--server", "there", "data.assume_spacing_mm=[0.3, 0.4, 2.5]"], (), (0.3, 0.4, 2.5)),
    ],
)
def test_an_assumed_spacing_is_that_of_the_mask_and_is_told(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    of_the_run: tuple[float, ...],
    expected: tuple[float, ...],
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        predict, "_open_predictor", lambda _, changes: seen.append(changes) or Threshold(100, 7, 1, of_the_run)
    )
    predict.main(["run", "silent.mha", "half.mha", *words, "--out", "masks"])
    assert seen == [[]]  # no change to how scans are segmented
    said = capsys.readouterr().err
    for name, axes in (("silent.mha", "i, j and k"), ("half.mha", "j")):
        mask = sitk.ReadImage(f"masks/{name}")
        assert mask.GetSpacing() == pytest.approx(expected)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask).T == 7, VOXELS > 100)
        assert said.count(f"{name}: data.assume_spacing_mm gives what the file does not state: the distance") == 1
        assert f"between its voxels along {axes}\n" in said
    millilitres = (VOXELS > 100).sum() * np.prod(expected) / 1000
    assert said.count(f"bright {millilitres:.1f} ml") == 2


def test_without_one_the_scan_is_refused_with_the_key_that_gives_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict, "_open_predictor", lambda *_: Threshold(100))
    with pytest.raises(InputError, match=r"give data\.assume_spacing_mm=\[i, j, k\]"):
        predict.main(["run", "silent.mha", "--out", "masks"])
    assert not (folder / "masks" / "silent.mha").exists()
    with pytest.raises(InputError, match=r"data\.assume_spacing_mm.*must have three numbers"):
        predict.main(["run", "silent.mha", "data.assume_spacing_mm=[1, 2]", "--out", "masks"])
    with pytest.raises(
        InputError, match=r"'data\.spacing_mm=\[1, 2, 3\]' is no scan that is there, nor a change that can be made"
    ):
        predict.main(["run", "silent.mha", "data.spacing_mm=[1, 2, 3]", "--out", "masks"])
