"""The page in one file: the worst cases alone, and never more bytes than are said."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest

from kseg.evaluation.scores import ClassScore
from kseg.viewer import single_file
from kseg.viewer.reduced_volume import Copy
from kseg.viewer.scene import OpenCase, structures_to_show
from kseg.viewer.single_file import WorstCases
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import stream_of_volume


def opened(side: int, dtype: str = "u1") -> OpenCase:
    """Noise, which does not compress."""
    grid = np.eye(4), StoredGeometry((side, side, side), np.eye(4), ".nii")
    noise = np.random.default_rng(side).integers(0, 256, (side, side, side))
    image, mask = (stream_of_volume(Volume(array, *grid)) for array in (noise.astype(dtype), (noise % 4).astype("u1")))
    return OpenCase(image, {"prediction": mask, "truth": mask})


def score(dice: float | None) -> ClassScore:
    return ClassScore("soleus", dice, None, None, None, None, 1.0, None, None, None)


def embedded(path: Path) -> dict:
    text = path.read_text("utf-8")
    return json.loads(text.split('id="embedded">')[1].split("</script>")[0])


@pytest.fixture
def worst() -> WorstCases:
    return WorstCases(structures_to_show({"soleus": [1], "gm": [2], "gl": [3]}), ["ultrasound", "elastography"])


def test_the_worst_five_are_in_it(worst: WorstCases, tmp_path: Path) -> None:
    for number, dice in enumerate([0.9, 0.5, None, 0.8, 0.1, 0.7, 0.95, 0.6]):
        worst.see(f"leg_{number}", opened(6), [score(dice)])
    worst.write(tmp_path / "view.html", "legs")
    scene = embedded(tmp_path / "view.html")["scene"]
    assert [case["name"] for case in scene["cases"]] == ["leg_4", "leg_1", "leg_7", "leg_5", "leg_3"]
    assert scene["cases"][0]["channels"] == ["ultrasound"]


def test_the_volumes_of_a_case_do_not_stay_in_memory(worst: WorstCases) -> None:
    array = np.random.default_rng(0).integers(0, 4, (6, 6, 6)).astype("u1")
    stream = stream_of_volume(Volume(array, np.eye(4), StoredGeometry((6, 6, 6), np.eye(4), ".nii")))
    seen = weakref.ref(array)
    worst.see("leg", OpenCase(stream, {"prediction": stream}), [score(0.5)])
    del array, stream
    gc.collect()
    assert seen() is None


def test_it_is_never_larger_than_is_said(worst: WorstCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "MOST_BYTES", single_file.FOR_PAGE + 400_000)
    for number in range(5):
        worst.see(f"leg_{number}", opened(60, "f4"), [score(0.5)])
    line = worst.write(tmp_path / "view.html", "legs")
    size = (tmp_path / "view.html").stat().st_size
    assert line == f"to look at, or to mail: {tmp_path / 'view.html'} ({size / 1e6:.1f} MB)"
    assert size < single_file.MOST_BYTES
    files = embedded(tmp_path / "view.html")["files"]
    assert sum(map(len, files.values())) > 150_000  # and no smaller than it must be


def test_without_a_case_there_is_no_page(worst: WorstCases, tmp_path: Path) -> None:
    worst.see("leg", opened(6), [score(None)])
    assert worst.write(tmp_path / "view.html", "legs") == f"no page {tmp_path / 'view.html'}: no case could be scored"
    assert not (tmp_path / "view.html").exists()


def test_grey_values_come_back_within_a_step() -> None:
    grey = np.random.default_rng(0).normal(100, 30, (20, 20, 20)).astype(np.float32)
    copy = single_file._in_256_steps(Copy(grey, np.eye(4)))
    low, high = np.percentile(grey, [0.1, 99.9])
    back = copy.slope * copy.array.astype(np.float64) + copy.intercept
    assert np.abs(back - grey.clip(low, high)).max() <= (high - low) / 255 / 2 + 1e-4
    assert single_file._in_256_steps(Copy(np.full((2, 2, 2), 7, np.int16), np.eye(4))).intercept == 7
