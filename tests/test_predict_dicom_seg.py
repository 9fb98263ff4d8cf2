"""`kseg.predict --dicom-seg`: beside masks of DICOM series, told where there can be none, and nobody's file lost."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import AXIAL, save_series, voxels
from printed import last_json
from pydicom import dcmread
from read_seg import assert_overlays
from threshold import Threshold

from kseg import predict
from kseg.console.errors import InputError
from kseg.storage.files import sha256_of

pytest.importorskip("highdicom", reason="needs kseg[dicom-seg]")

BRIGHT = {"bright": (200,)}
WORK = Path(__file__).parent / "fixtures" / "kseg-0.1.0" / "work.zip"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Threshold:
    """A run that marks what is brighter than 100 with 200."""
    threshold = Threshold(100)
    monkeypatch.setattr(predict, "_open_predictor", lambda *_: threshold)
    return threshold


def series(folder: str, seed: int = 0) -> Path:
    array = np.random.default_rng(seed).integers(-500, 1000, (9, 7, 6)).astype(np.int16)
    return save_series(Path(folder), array, AXIAL[:, [1, 0, 2]] * [1, 1, -1], FrameOfReferenceUID="1.2.3.4")


def files(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.usefixtures("predictor")
def test_each_series_has_one_and_what_is_no_dicom_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    series("legs/1/ct", 1)
    series("legs/2/ct", 2)
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), "legs/mr.mha")
    with pytest.raises(InputError, match=r"1 of 3 inputs failed: legs/mr\.mha; see above"):
        predict.main(["run", "legs", "--out", "masks", "--dicom-seg", "--json"])
    said = capsys.readouterr()
    segs = ["masks/1/ct.seg.dcm", "masks/2/ct.seg.dcm"]
    masks = ["1/ct.nii.gz", "2/ct.nii.gz", "mr.mha"]
    assert files("masks") == sorted([*masks, "1/ct.seg.dcm", "2/ct.seg.dcm", "measures.csv", "volumes.csv"])
    report = last_json(said.out)
    assert report["dicom_seg"] == segs and report["failed"] == ["legs/mr.mha"]
    assert sorted(report["written"]) == [f"masks/{mask}" for mask in masks]
    for seg in segs:
        assert_overlays(Path(seg), Path(seg.replace(".seg.dcm", ".nii.gz")), BRIGHT)
    assert (
        "'legs/mr.mha' is no DICOM series or file, whose images a DICOM SEG refers to: the mask is there, a DICOM SEG "
        "is not; leave out --dicom-seg for this scan" in said.err
    )
    assert "masks/1/ct.seg.dcm: DICOM SEG, segments bright\n" in said.err
    predict.main(["run", ".", "--out", "again"])  # what kseg wrote is no scan
    assert files("again") == ["legs/1/ct.nii.gz", "legs/2/ct.nii.gz", "legs/mr.mha", "measures.csv", "volumes.csv"]


@pytest.mark.usefixtures("predictor")
def test_force_replaces_what_kseg_wrote_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(series("ct")), "--out", "masks"]
    seg = Path("masks/ct.seg.dcm")
    predict.main([*words, "--dicom-seg"])
    first = dcmread(seg).SOPInstanceUID
    predict.main([*words, "--dicom-seg", "--force"])
    assert dcmread(seg).SOPInstanceUID == first  # the same mask by the same model
    capsys.readouterr()
    predict.main([*words, "--force"])
    assert "note: 'masks/ct.seg.dcm' is of an earlier mask: --dicom-seg writes it anew" in capsys.readouterr().err
    Path("masks/ct.nii.gz").unlink()
    with pytest.raises(InputError, match=r"'masks/ct\.seg\.dcm' exists already: pass --force to replace it"):
        predict.main([*words, "--dicom-seg"])
    corrected = dcmread(seg)
    corrected.SegmentSequence[0].SegmentLabel = "mine"
    corrected.save_as(seg)
    kept = seg.read_bytes()
    with pytest.raises(InputError, match=r"'masks/ct\.seg\.dcm' exists already, and is not as kseg wrote it there"):
        predict.main([*words, "--dicom-seg", "--force"])
    assert seg.read_bytes() == kept and files("masks") == ["ct.seg.dcm", "measures.csv", "volumes.csv"]


def test_codes_are_the_runs_and_those_that_are_given(predictor: Threshold) -> None:
    words = ["run", str(series("ct")), "--dicom-seg", "--out"]
    predictor.structures = {"bright": (200,), "core": (7,)}
    predictor.codes = {"bright": ("3138006", "SCT", "Bone"), "left out": ("10200004", "SCT", "Liver")}
    predict.main([*words, "masks", 'data.codes.core=["108369006", "SCT", "Neoplasm"]'])
    told = [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in dcmread("masks/ct.seg.dcm").SegmentSequence]
    assert told == ["3138006", "108369006"]
    unknown = 'data.codes={bone=["3138006", "SCT", "Bone"]}'
    with pytest.raises(
        InputError, match=r"data\.codes has 'bone', which is no class or region: known are bright, core"
    ):
        predict.main([*words, "other", unknown])
    with pytest.raises(InputError, match=r"nor a change that can be made: .* and with --dicom-seg data\.codes"):
        predict.main(["run", "ct", "--out", "other", unknown])
    assert not Path("other").exists()


@pytest.mark.usefixtures("predictor")
def test_without_highdicom_it_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"--dicom-seg needs highdicom, .*: pip install 'kseg\[dicom-seg\]'"):
        predict.main(["run", str(series("ct")), "--out", "masks", "--dicom-seg"])
    assert not Path("masks").exists()


@pytest.mark.usefixtures("predictor")
def test_a_long_name_is_one_or_is_refused_before_the_work() -> None:
    assert len("s" * 247 + ".seg.dcm") == 255
    predict.main(["run", str(series("s" * 247)), "--out", "masks", "--dicom-seg"])
    assert Path("masks", "s" * 247 + ".seg.dcm").is_file()
    with pytest.raises(InputError, match=r"\.seg\.dcm' is too long for a file's name: rename"):
        predict.main(["run", str(series("s" * 248)), "--out", "other", "--dicom-seg"])
    assert not files("other")


def test_a_trained_run_says_which_it_is() -> None:
    with zipfile.ZipFile(WORK) as archive:
        archive.extractall()
    predict.main(["legs", str(series("ct")), "--out", "masks", "--dicom-seg"])
    found = dcmread("masks/ct.seg.dcm")
    assert found.ManufacturerModelName == "legs"
    assert found.DeviceSerialNumber == sha256_of(Path("saved_models/legs/model.keras"))
    structures = {one.SegmentLabel: () for one in found.SegmentSequence}
    assert list(structures) == ["soleus", "gastrocnemius_medialis", "gastrocnemius_lateralis"]
    assert_overlays(
        Path("masks/ct.seg.dcm"), Path("masks/ct.nii.gz"), dict(zip(structures, [(100,), (150,), (200,)], strict=True))
    )
