"""`kseg.measure` on what people have: masks of any program, trees of them with their scans, and bad ones."""

import csv
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from made_dicom import save_series
from printed import last_json
from volume_files import save_array

from kseg import measure
from kseg.console.errors import InputError
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.structure_colours import OKABE_ITO
from kseg.volumes.write import write_label_map


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def muscles() -> np.ndarray:
    """Of 100 four slices of 4 x 3 voxels, of 150 two of 2 x 2, of which one is the scan's last."""
    array = np.zeros((9, 10, 12), np.uint8)
    array[2:6, 2:5, 3:7] = 100
    array[7:, 6:8, 8:10] = 150
    return array


def grey(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (9, 10, 12)).astype(np.uint8)


def table(path: str = "m.csv") -> dict[tuple[str, str], dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return {(row["case"], row["class_name"]): row for row in csv.DictReader(file)}


def test_a_mask_with_names_and_its_scan(capsys: pytest.CaptureFixture[str]) -> None:
    mask, image = save_array("leg.mha", muscles()), save_array("scan.nii.gz", grey())
    words = [mask, "--images", image, "--out", "m.csv", "--labels", "soleus=100", "gm=150", "--json"]
    measure.main(words)
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "leg.mha: soleus 0.3 ml, gm 0.0 ml (cut off at the border of the scan)",
        "measures: m.csv",
    ]
    rows = table()
    soleus, told = rows["leg", "soleus"], last_json(said.out)["measures"][0]
    assert soleus == {key: "" if value is None else str(value) for key, value in told.items()}
    assert (soleus["volume_ml"], soleus["length_mm"], soleus["largest_area_mm2"]) == ("0.288", "12.0", "24.0")
    assert (soleus["touches_border"], rows["leg", "gm"]["touches_border"]) == ("False", "True")
    inside = grey()[muscles() == 100].astype(float)
    told = [float(soleus[f"image_{what}"]) for what in ("mean", "sd", "median")]
    assert told == pytest.approx([inside.mean(), inside.std(ddof=1), np.median(inside)])


def test_axis_profile_and_plot() -> None:
    mask = save_array("leg.mha", muscles())
    measure.main([mask, "--out", "out/m.csv", "--axis", "x", "--profile", "--plot"])
    rows = table("out/m.csv")
    # MetaImages run to the left: x begins where the file ends.
    assert [rows["leg", f"label {value}"]["length_mm"] for value in (100, 150)] == ["4.0", "2.0"]
    assert rows["leg", "label 100"]["largest_area_mm2"] == str(4 * 3 * 2 * 3.0)
    assert rows["leg", "label 100"]["mask"] == "../leg.mha"
    with Path("out/m_profile.csv").open(encoding="utf-8", newline="") as file:
        profile = [tuple(row.values())[1:] for row in csv.DictReader(file)]
    assert profile[:2] == [
        ("label 100", "../leg.mha", "x", "6", "5.5", "0.5", "72.0"),
        ("label 100", "../leg.mha", "x", "5", "6.5", "1.5", "72.0"),
    ]
    assert len(profile) == 4 + 2
    pixels = (matplotlib.image.imread("out/m_plots/leg.png")[..., :3] * 255).round().astype(int)
    for colour in OKABE_ITO[:2]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(axis=-1) <= 2).sum() > 100


def test_a_tree_is_measured_with_its_scans_and_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for leg, seed in (("3", 1), ("4", 2)):
        save_array(f"scans/{leg}/x1.mha", grey(seed))
        save_array(f"masks/{leg}/x1_uncertainty.mha", grey())
        save_array(f"masks/{leg}/x1.mha", muscles() // 50)
    save_array("masks/notes.mha", grey())
    measure.main(["masks", "--images", "scans", "--out", "masks/measures.csv", "--json"])
    said = capsys.readouterr()
    assert sorted(table("masks/measures.csv")) == [
        (f"{leg}/x1", f"label {value}") for leg in "34" for value in (2, 3)
    ]  # fmt: skip
    for leg, seed in (("3", 1), ("4", 2)):
        row = table("masks/measures.csv")[f"{leg}/x1", "label 2"]
        assert row["mask"] == f"{leg}/x1.mha"
        assert float(row["image_mean"]) == pytest.approx(grey(seed)[muscles() == 100].mean())
    assert last_json(said.out)["skipped"] == {
        f"masks/{leg}/x1_uncertainty.mha": "is the uncertainty of a mask" for leg in "34"
    } | {"masks/notes.mha": "is no mask, by its name and more than 16 values"}


def test_a_scan_of_another_subject_is_not_taken_for_a_masks_own(capsys: pytest.CaptureFixture[str]) -> None:
    for leg in "34":
        save_array(f"masks/{leg}/x1.mha", muscles())
    save_array("masks/4/alone.mha", muscles())
    save_array("scans/4/x1.mha", grey(2))
    save_array("scans/cohort/alone.mha", grey(3))
    with pytest.raises(InputError, match=r"1 of 3 masks failed: masks/3/x1\.mha"):
        measure.main(["masks", "--images", "scans", "--out", "m.csv"])
    said = capsys.readouterr().err
    assert "mask 'masks/3/x1.mha' has no scan of its own in 'scans' (4/x1.mha may be another's)" in said
    assert "the scan of mask 'masks/4/alone.mha' is taken to be 'scans/cohort/alone.mha', by its name alone" in said
    assert {case for case, _ in table()} == {"4/x1", "4/alone"}
    means = {case: float(table()[case, "label 100"]["image_mean"]) for case in ("4/x1", "4/alone")}
    inside = muscles() == 100
    assert means == pytest.approx({"4/x1": grey(2)[inside].mean(), "4/alone": grey(3)[inside].mean()})


def test_masks_of_two_people_of_one_scan_have_it_both() -> None:
    save_array("scans/leg.mha", grey())
    for rater in "ab":
        save_array(f"masks/{rater}/leg.mha", muscles())
    measure.main(["masks", "--images", "scans", "--out", "m.csv"])
    means = [float(row["image_mean"]) for (_, name), row in table().items() if name == "label 100"]
    assert means == pytest.approx([grey()[muscles() == 100].mean()] * 2)


def test_without_names_all_but_the_background_is_measured() -> None:
    save_array("leg.mha", np.where(muscles() == 0, 9, np.where(muscles() == 100, 0, 150)).astype(np.uint8))
    measure.main(["leg.mha", "--out", "m.csv", "--labels", "background=9"])
    assert sorted(table()) == [("leg", "label 0"), ("leg", "label 150")]


def test_a_mask_that_is_named_after_a_first_channel_has_it_as_its_scan() -> None:
    """So does `kseg predict` name the masks of nnU-Net's imagesTs."""
    save_array("scans/leg_0000.mha", grey())
    save_array("masks/leg_0000.mha", muscles())
    measure.main(["masks", "--images", "scans", "--out", "m.csv"])
    assert float(table()["leg_0000", "label 100"]["image_mean"]) == pytest.approx(grey()[muscles() == 100].mean())


def test_files_of_one_name_are_told_apart() -> None:
    paths = [save_array(path, muscles()) for path in ("a/leg.mha", "b/leg.mha", "b/leg.nii.gz")]
    measure.main([*paths, paths[0], "--out", "m.csv", "--plot"])
    assert {case for case, _ in table()} == {"a/leg.mha", "b/leg.mha", "b/leg.nii.gz"}
    assert sorted(path.as_posix() for path in Path("m_plots").rglob("*.png")) == [
        "m_plots/a/leg.mha.png", "m_plots/b/leg.mha.png", "m_plots/b/leg.nii.gz.png",
    ]  # fmt: skip


def test_a_mask_of_a_dicom_series_lies_on_its_grid() -> None:
    values = np.arange(8 * 7 * 5, dtype=np.int16).reshape(8, 7, 5)
    folder = save_series(Path("scans/series"), values)
    from kseg.volumes.read import read_image

    volume = read_image([folder], "series")
    labels = np.zeros(volume.shape, np.uint8)
    labels[2:4, 3, 1:4] = 1
    write_label_map(Path("masks/series.nii.gz"), labels, volume.stored)
    measure.main(["masks", "--images", "scans", "--out", "m.csv"])
    row = table()["series", "label 1"]
    assert float(row["image_mean"]) == pytest.approx(volume.array[2:4, 3, 1:4, 0].mean())
    itk = sitk.LabelShapeStatisticsImageFilter()
    itk.Execute(sitk.ReadImage("masks/series.nii.gz"))
    x, y, z = itk.GetCentroid(1)
    told = [float(row[f"centroid_{axis}_ras_mm"]) for axis in "xyz"]
    assert told == pytest.approx([-x, -y, z], abs=1e-4)  # NIfTI's headers are float32


def test_floats_that_are_whole_are_labels_and_names_without_values_are_told(capsys) -> None:
    nibabel.save(nibabel.Nifti1Image(muscles().T.astype(np.float64), np.diag([1, 2, 3, 1])), "leg.nii")
    measure.main(["leg.nii", "--out", "m.csv", "--labels", "both=100+150", "background=0", "gm=150", "other=7"])
    rows = table()
    assert [rows["leg", name]["volume_ml"] for name in ("both", "gm", "other")] == ["0.336", "0.048", "0.0"]
    measure.main(["leg.nii", "--out", "m.csv", "--labels", "soleus=100"])
    assert "note: 'leg.nii': values without a name are not measured: 150" in capsys.readouterr().err
    assert list(table()) == [("leg", "soleus")]


def test_bad_masks_are_told_and_stop_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    save_array("leg.mha", muscles())
    fractions = save_array("soft.mha", grey().astype(np.float32) / 3)
    Path("broken.nii.gz").write_bytes(b"not a volume")
    other = save_array("other.mha", muscles())
    save_array("scans/leg.nrrd", grey())
    save_array("scans/other.nrrd", grey(), (1.0, 1.0, 1.0))
    save_array("scans/soft_0000.nrrd", grey())
    save_array("scans/broken.nrrd", grey())
    words = ["leg.mha", fractions, "broken.nii.gz", other, "gone.mha", "--images", "scans", "--out", "m.csv", "--json"]
    with pytest.raises(InputError, match=r"4 of 5 masks failed: .*; see above"):
        measure.main(words)
    said = capsys.readouterr()
    assert sorted(last_json(said.out)["failed"]) == ["broken.nii.gz", "gone.mha", "other.mha", "soft.mha"]
    for line in (
        "kseg.measure: mask 'soft.mha' is no label map: it holds more than 256 values, or fractions; give the mask",
        "kseg.measure: 'broken.nii.gz' cannot be read",
        "kseg.measure: mask 'other.mha' has voxels of 1 x 2 x 3 mm, its scan 'scans/other.nrrd' of 1 x 1 x 1 mm",
        "kseg.measure: 'gone.mha' does not exist: correct the path.",
    ):
        assert line in said.err
    assert {case for case, _ in table()} == {"leg"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no mask is named: give files or folders"),
        (["leg.mha", "--labels", "soleus"], "'soleus' is no NAME=VALUE, such as soleus=100"),
        (["leg.mha", "--labels", "a=1", "a=2"], "'a' stands twice: name it once, with its values as a=1\\+2"),
        (["leg.mha", "--labels", "a=1", "--run", "legs"], "--labels and --run both name the values"),
        (["leg.mha", "--images", "nowhere"], "--images 'nowhere' does not exist: correct the path"),
        (["leg.mha", "leg2.mha", "--images", "leg.mha"], "'leg.mha' is a file, and 2 masks are named"),
        (
            ["leg.mha", "--images", "scans"],
            "mask 'leg.mha' has no scan in 'scans': call one 'leg' as the mask, or 'leg_0000'",
        ),
        (["leg.mha", "train.epochs=3"], "'train.epochs=3' is no mask that is there, nor data.assume_spacing_mm"),
        (["scans"], "folder 'scans' holds no mask: volumes of more than 16 values are taken for scans"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], message: str) -> None:
    save_array("leg.mha", muscles())
    save_array("leg2.mha", muscles())
    save_array("scans/x.mha", grey())
    with pytest.raises(InputError, match=message):
        measure.main([*words, "--out", "m.csv"])


def test_nothing_is_overwritten_that_kseg_did_not_write() -> None:
    save_array("leg.mha", muscles())
    for out, message in (("leg.mha", "give it a name that ends in .csv"), ("mine.csv", "is no table of measures")):
        Path("mine.csv").write_text("case,age\nleg,7\n", encoding="utf-8")
        with pytest.raises(InputError, match=message):
            measure.main(["leg.mha", "--out", out])
    assert Path("mine.csv").read_text(encoding="utf-8") == "case,age\nleg,7\n"
    for _ in range(2):  # what kseg wrote is replaced
        measure.main(["leg.mha", "--out", "m.csv", "--plot"])
    Path("m_plots/leg.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"'m_plots/leg\.png' is there, and is not as kseg wrote it: move it away"):
        measure.main(["leg.mha", "--out", "m.csv", "--plot"])
    assert Path("m_plots/leg.png").read_bytes() == b"mine"


def test_a_spacing_that_no_file_states_may_be_given() -> None:
    image = nibabel.Nifti1Image(muscles().T, None)
    image.header.set_zooms((0, 0, 0))
    nibabel.save(image, "leg.nii")
    with pytest.raises(InputError, match="does not state"):
        measure.main(["leg.nii", "--out", "m.csv"])
    measure.main(["leg.nii", "data.assume_spacing_mm=[1, 2, 3]", "--out", "m.csv"])
    row = table()["leg", "label 100"]
    assert (row["volume_ml"], row["centroid_x_ras_mm"]) == ("0.288", "")


def test_geometry_of_a_file_without_a_place_is_kept() -> None:
    stored = StoredGeometry((3, 3, 3), np.eye(4), ".nii.gz", placed=False)
    write_label_map(Path("leg.nii.gz"), np.ones((3, 3, 3), np.uint8), stored)
    measure.main([".", "--out", "m.csv"])
    assert table()["leg", "label 1"]["volume_ml"] == "0.027"
