"""Cut, changed and lost voxels are told in one line that names the file."""

from pathlib import Path

import pytest
from damage import flip_bits
from volume_files import EXTENSIONS, make_image, save

from kseg.console.errors import InputError
from kseg.volumes.read import read_volume


def assert_damage_is_told(path: Path, damaged: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "No such file" not in message
    assert str(damaged) in message or str(path) in message


@pytest.mark.parametrize("cut", ["twelve bytes", "half", "all but the start", "everything"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_truncated_files_are_errors(extension, compress, cut, tmp_path):
    path = save(tmp_path / f"scan{extension}", make_image(), compress)
    voxels = next((file for file in tmp_path.iterdir() if file != path), path)
    content = voxels.read_bytes()
    kept = {
        "twelve bytes": len(content) - 12,
        "half": len(content) // 2,
        "all but the start": 50,
        "everything": 0,
    }
    voxels.write_bytes(content[: kept[cut]])
    assert_damage_is_told(path, voxels)


def test_a_short_metaimage_is_told_by_its_bytes_for_itk_says_no_such_file(tmp_path):
    for compress, message in ((False, "expected 504 bytes of voxels, got 492"), (True, "end early")):
        path = save(tmp_path / "short.mha", make_image(), compress)
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(InputError, match=message):
            read_volume(path)


@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("place", ["middle", "checksum"])
def test_flipped_bits_in_compressed_voxels_are_errors(extension, place, tmp_path):
    path = save(tmp_path / f"scan{extension}", make_image(), compress=True)
    voxels = next((file for file in tmp_path.iterdir() if file != path), path)
    checksum = -6 if extension in (".nii.gz", ".nrrd", ".nhdr") else -2
    flip_bits(voxels, -voxels.stat().st_size // 4 if place == "middle" else checksum, 0x55)
    assert_damage_is_told(path, voxels)


def test_junk_and_lost_voxels_are_errors(tmp_path):
    for extension in EXTENSIONS:
        junk = tmp_path / f"junk{extension}"
        junk.write_bytes(b"hello" * 200)
        assert_damage_is_told(junk, junk)
    for extension in (".mhd", ".nhdr"):
        path = save(tmp_path / f"lost{extension}", make_image())
        (tmp_path / "lost.raw").unlink()
        assert_damage_is_told(path, tmp_path / "lost.raw")
