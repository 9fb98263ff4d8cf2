"""Pixels of DICOM files however they are stored: the same voxels, or one line where they are damaged or not decoded."""

import numpy as np
import pytest
from made_dicom import assert_read, by_itk, item, line, save_series, voxels, with_tags
from pydicom import dcmread, uid
from pydicom.pixels import apply_rescale

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import open_dicom
from kseg.volumes.read import read_volume

NATIVE = [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
COMPRESSED = [uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]


def test_bits_beside_those_in_use_do_not_count(tmp_path):
    """Twelve bits, as an overlay of old left four others set; and twelve that end at the highest."""
    array = voxels(low=0, high=4096)
    save_series(tmp_path / "low", array | np.int16(-4096), BitsStored=12, HighBit=11, PixelRepresentation=0)
    assert_read(tmp_path / "low", array)
    save_series(tmp_path / "signed", (array - 2048) & 4095, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert_read(tmp_path / "signed", array - 2048)
    save_series(tmp_path / "high", array << 4 | 9, BitsStored=12, HighBit=15, PixelRepresentation=0)
    assert_read(tmp_path / "high", array)


def test_values_that_are_shown_inverted_are_read_as_stored(tmp_path):
    """pydicom and dcm2niix read MONOCHROME1 so; ITK inverts before it rescales, which leaves no HU."""
    tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 1, "RescaleIntercept": -1024}
    inverted = save_series(tmp_path / "s", voxels(), **tags)
    files = [dcmread(file) for file in sorted(inverted.iterdir())]
    assert_read(inverted, np.stack([apply_rescale(file.pixel_array, file).T for file in files], axis=2))
    mixed = save_series(tmp_path / "m", voxels(), PhotometricInterpretation=lambda k: f"MONOCHROME{1 + k % 2}")
    assert "must have slices shown alike: received MONOCHROME1 and MONOCHROME2" in line(mixed)


def test_a_table_of_values_is_applied(tmp_path):
    table = np.arange(0, 2560, 10, dtype=np.uint16)[::-1]
    lut = item(LUTDescriptor=[256, 0, 16], LUTData=table.tobytes(), ModalityLUTType="US")
    array = voxels(low=0, high=256)
    save_series(tmp_path / "s", array, ModalityLUTSequence=[lut], PixelRepresentation=0)
    assert_read(tmp_path / "s", table[array])


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED], ids=lambda syntax: syntax.keyword)
def test_every_way_to_store_pixels_gives_the_same_voxels(syntax, tmp_path, capfd):
    for signed in (0, 1):
        tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed, "RescaleIntercept": -1000}
        array = voxels((16, 14, 6), low=-2048 * signed, high=4096 - 2048 * signed)
        save_series(tmp_path / f"{signed}", array & 4095 if syntax.is_encapsulated else array, syntax=syntax, **tags)
        if syntax.is_encapsulated:  # GDCM packs the bits in use; what it reads of them is the reference
            np.testing.assert_array_equal(by_itk(tmp_path / f"{signed}")[0], array - 1000)
        assert_read(tmp_path / f"{signed}", array - 1000)
    assert capfd.readouterr().err == ""


def test_big_endian_and_files_without_preamble_or_meta_are_read(tmp_path):
    array = voxels()
    assert_read(save_series(tmp_path / "big", array, syntax=uid.ExplicitVRBigEndian), array)
    save_series(tmp_path / "bare", array)
    for file in (tmp_path / "bare").iterdir():
        content = file.read_bytes()[132:]
        meta = 12 + int.from_bytes(content[8:12], "little")
        file.with_suffix("").write_bytes(content if file.stem.endswith("3") else content[meta:])
        file.unlink()
    assert_read(tmp_path / "bare", array)


@pytest.mark.parametrize("lost", [0, 4])
@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, *NATIVE, *COMPRESSED], ids=lambda syntax: syntax.keyword
)
def test_a_file_that_is_cut_short_is_an_error_wherever_it_is_cut(syntax, lost, tmp_path, capfd):
    series = save_series(tmp_path / "s", voxels((16, 16, 6)), syntax=syntax)
    file = sorted(series.iterdir())[lost]
    content = file.read_bytes()
    ends = 9 if syntax.is_encapsulated else 2  # what follows the pixels may be missing
    for kept in (len(content) - ends, len(content) - 40, len(content) // 2, 400, 200, 140):
        file.write_bytes(content[:kept])
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_volume(series)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
def test_damage_within_compressed_pixels_says_one_line_or_changes_values_alone(syntax, tmp_path, capfd):
    series = save_series(tmp_path / "s", voxels((16, 16, 6)), syntax=syntax)
    file = sorted(series.iterdir())[2]
    content = file.read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00") + 12
    for at in range(start, len(content), 23):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        try:
            assert read_volume(series).array.shape == (16, 16, 6)
        except InputError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("syntax", COMPRESSED[1:], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    "tags", [{"Rows": 23616}, {"Columns": 40}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}]
)
def test_a_stream_of_another_size_than_the_tags_say_is_not_decoded(syntax, tags, tmp_path):
    """GDCM would write past its memory, and the process die."""
    series = save_series(tmp_path / "s", voxels((16, 16, 2)), syntax=syntax)
    with_tags(made := dcmread(series / "1_001.dcm"), **tags)
    made.save_as(series / "1_001.dcm")
    with pytest.raises(InputError, match="a compressed frame is of 16 x 16 pixels of 1 x 16 bits, its tags say "):
        open_dicom(series)


def test_pixels_that_nothing_here_decodes_are_told(tmp_path):
    series = save_series(tmp_path / "s", voxels(), syntax=uid.JPEG2000Lossless)
    for syntax in (uid.HTJ2KLossless, uid.MPEG2MPML):
        made = dcmread(series / "1_003.dcm")
        made.file_meta.TransferSyntaxUID = syntax
        made.save_as(series / "1_003.dcm")
        with pytest.raises(InputError) as caught:
            read_volume(series)
        expected = f"'{series / '1_003.dcm'}' is compressed as '{syntax.name}', which cannot be decoded: save it "
        assert str(caught.value).startswith(expected)
