"""The commands of the page "From twenty annotated slices to a cohort", one after the other, on the phantom."""

import importlib
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from kseg import phantom
from kseg.runs.run_folder import RunFolder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "few_slices.md"
SMALL = ["train.epochs=1", "train.steps_per_epoch=2", "train.validation_patches=2", "patches.size=[16, 16, 16]"]
SMALL += ["network.preset=midl2021", "network.filters=[2]", "network.dilation_rates=[1]", "patches.batch_size=1"]
EVERY = 5


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    lines = [shlex.split(line) for language, block in blocks if not language for line in block.splitlines()]
    return [line for line in lines if line[0] in ("kseg", "cp")]


def draw_legs() -> None:
    """Three legs with every fifth slice across z annotated, in a folder for each, and two scans of the cohort."""
    phantom.main(["--out", "drawn", "--subjects", "5", "--shape", "20", "20", "24", "--format", "mha"])
    scans = sorted(Path("drawn/images").iterdir())
    for number, scan in enumerate(scans[:3], start=1):
        folder = Path("LEGS", str(number))
        folder.mkdir(parents=True)
        shutil.copy(scan, folder / f"x{number}.mha")
        labels = sitk.ReadImage(str(Path("drawn/labels", scan.name)))
        values = sitk.GetArrayFromImage(labels)  # (z, y, x)
        foreground = np.flatnonzero(values.any(axis=(1, 2)))[::EVERY]
        some = np.zeros_like(values)
        some[foreground] = values[foreground]
        image = sitk.GetImageFromArray(some)
        image.CopyInformation(labels)
        sitk.WriteImage(image, str(folder / f"masksX{number}.mha"))
    Path("cohort").mkdir()
    for scan in scans[3:]:
        shutil.copy(scan, "cohort")


def test_the_commands_do_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_legs()
    said = {}
    for number, (program, *words) in enumerate(commands()):
        if program == "cp":
            shutil.copy(*words)
            continue
        name, *arguments = words
        more = SMALL if name == "train" else []
        importlib.import_module(f"kseg.{name}").main([*arguments, *more])
        said[number] = (name, capsys.readouterr().err)
        if name == "init":
            recipe = Path("LEGS.toml")
            text = recipe.read_text(encoding="utf-8")
            recipe.write_text(text.replace("[data]\n", '[data]\nannotated_slices = "z"\n', 1), encoding="utf-8")
    of = {name: [text for other, text in said.values() if other == name] for name, _ in said.values()}
    assert "of 24 slices across z are annotated" in of["prepare"][0]
    assert "1 case changed (1_x1)" in of["prepare"][1]
    assert "with the weights of run 'LEGS'" in of["train"][1]
    assert "slices across z are annotated" in of["predict"][0]
    assert len(list(Path("masks").glob("*.mha"))) == 2
    assert RunFolder(Path("saved_models/LEGS-2")).load_data_description().learned_before.train
    assert Path("saved_models/LEGS-2/LEGS-2.kseg").is_file()
