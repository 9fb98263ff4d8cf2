"""What lies below a folder: volumes, other files, what cannot be read; and which values volumes hold."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from made_dicom import save_series

from kseg.console.errors import InputError
from kseg.volumes.cases.folder import FolderContent, begins_as_image, content_below, values_in, whole_values
from kseg.volumes.formats.extensions import split_name
from kseg.volumes.formats.open import open_stored
from kseg.volumes.mask_hash import bears_hash
from kseg.volumes.volume_stream import VolumeStream, stream_of_file


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def stream(path: Path) -> VolumeStream:
    return stream_of_file(open_stored(path))


def found(content: FolderContent) -> tuple[list[str], list[str], list[str]]:
    return [*map(str, content.volumes)], [*map(str, content.others)], [*map(str, content.unreadable)]


def test_each_file_is_a_volume_a_part_of_one_or_another(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    save_series(tmp_path / "s" / "1", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    (tmp_path / "s" / "lost.dcm").write_bytes(b"a page of the web")
    (tmp_path / "s" / "1" / "report.pdf").write_bytes(b"x")
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = b.raw\n"
    (tmp_path / "b.mhd").write_text(header, encoding="utf-8")
    (tmp_path / "b.raw").write_bytes(bytes(8))
    (tmp_path / "gone.nrrd").symlink_to("nowhere.nrrd")
    (tmp_path / "s" / "again").symlink_to(tmp_path)  # a circle
    (tmp_path / ".hidden.nii").write_bytes(b"x")
    assert found(content_below(tmp_path)) == (
        ["a.nii", "b.mhd", "gone.nrrd", "s/1"],
        ["s/1/report.pdf"],
        ["s/lost.dcm"],
    )
    assert content_below(tmp_path).volumes[Path("s/1")] == "1"


def test_an_unreadable_folder_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "open" / "a.nii", np.zeros((2, 2, 2), np.uint8))
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    content = content_below(tmp_path)
    assert found(content) == (["open/a.nii"], [], ["closed"])
    assert "Permission denied; change its permissions" in content.unreadable[Path("closed")]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_values_are_told_up_to_a_number(tmp_path: Path, dtype: type) -> None:
    array = np.zeros((7, 8, 70), dtype)
    array[3, 4, 66], array[2, 2, 2] = 100, 7
    path = save(tmp_path / "a.nii.gz", array)
    assert whole_values(stream(path), 3) == {0, 7, 100}
    assert whole_values(stream(path), 2) is None


def test_labels_that_are_whole_to_a_thousandth_are_labels(tmp_path: Path) -> None:
    array = np.zeros((7, 8, 70), np.float32)
    array[3, 4, 66], array[3, 4, 67], array[1, 1, 40] = 149.9999, 150.0004, 2.9995
    path = save(tmp_path / "a.nii", array)
    assert whole_values(stream(path), 3) == {0, 3, 150}
    assert not begins_as_image(path)


def test_intensities_below_a_thousandth_are_no_labels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).uniform(-5e-4, 5e-4, (7, 8, 70)).astype(np.float32)
    path = save(tmp_path / "a.nii", array)
    assert whole_values(stream(path), 16) is None
    assert begins_as_image(path)
    assert whole_values(stream(save(tmp_path / "b.nii", 0 * array)), 16) == {0}


def test_values_are_read_of_a_file_that_does_not_state_its_spacing(tmp_path: Path) -> None:
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(header.encode() + bytes([0, 0, 7, 7, 0, 0, 0, 9]))
    with pytest.raises(InputError, match="does not state"):
        open_stored(tmp_path / "a.mha")
    assert values_in(tmp_path / "a.mha") == {0, 7, 9}
    assert not begins_as_image(tmp_path / "a.mha")


def test_a_link_to_a_series_has_its_own_name(tmp_path: Path) -> None:
    for number in (1, 2):
        save_series(tmp_path / f"archive/p{number}/SE3", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
        (tmp_path / "legs").mkdir(exist_ok=True)
        (tmp_path / f"legs/leg0{number}").symlink_to(tmp_path / f"archive/p{number}/SE3")
    assert content_below(tmp_path / "legs").volumes == {Path("leg01"): "leg01", Path("leg02"): "leg02"}
    os.chdir(tmp_path / "archive/p1/SE3")
    assert split_name(Path())[0] == "SE3"
    assert split_name(Path("../..") / "p2/SE3")[0] == "SE3"
    assert split_name(Path(".."))[0] == "p1"


def test_what_one_may_not_look_at_is_refused_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    (tmp_path / "b.mha").write_bytes(b"ObjectType = Image")
    stat = os.stat

    def refuse(path: object, *args: object, **options: object) -> os.stat_result:
        if str(path).endswith("b.mha"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refuse)
    assert found(content_below(tmp_path)) == (["a.nii", "b.mha"], [], [])
    with pytest.raises(InputError, match=r"b\.mha': Permission denied"):
        values_in(tmp_path / "b.mha")
    assert not bears_hash(tmp_path / "b.mha")


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    array = np.zeros((7, 8, 70), np.float32)
    array[3, 4, 66] = 0.5
    assert whole_values(stream(save(tmp_path / "a.nii", array)), 16) is None


def test_an_image_is_read_no_further_than_its_first_planes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (7, 8, 200)).astype(np.uint8)
    path = save(tmp_path / "a.nii", array)
    with path.open("r+b") as file:
        file.truncate(352 + 7 * 8 * 100)  # damage beyond would be told
    assert whole_values(stream(path), 16) is None


@pytest.mark.parametrize(
    ("values", "is_image"), [((0, 1), False), ((0, 255), False), ((0, 0.5), True), (range(300), True)]
)
def test_a_volume_begins_as_an_image_by_its_first_planes_that_are_not_alike(tmp_path, values, is_image) -> None:
    array = np.zeros((20, 20, 70), np.float32)
    array[..., 40].flat[: len(values)] = values
    assert begins_as_image(save(tmp_path / "a.nii", array)) == is_image
