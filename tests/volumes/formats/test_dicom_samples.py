"""pydicom's own test files, those that it brings and those of the package pydicom-data: read right, or one line.

Nothing is downloaded. References: SimpleITK; pydicom for doses, whose scaling ITK leaves out, and for MONOCHROME1,
which it inverts. By hand compared with dcm2niix, which agrees but for what it cannot decode, for doses (1 mm between
frames) and for a tilted slice, which it straightens.
"""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut

from kseg.console.errors import InputError
from kseg.volumes.formats.dicom import open_dicom
from kseg.volumes.formats.dicom_magic import is_dicom
from kseg.volumes.formats.header import Header
from kseg.volumes.geometry import corners_mm

data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = sorted(
    file
    for folder in (SHIPPED, Path(data_store.__file__).parent / "data")
    for file in folder.iterdir()
    if is_dicom(file)
)
SERIES = SHIPPED / "dicomdirtests"
READ = {
    *("693_J2KI", "693_J2KR", "693_UNCI", "693_UNCR", "CT_small", "J2K_pixelrep_mismatch", "MR_small", "MR_small_RLE"),
    *("MR_small_bigendian", "MR_small_expb", "MR_small_implicit", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
    *("MR_small_padded", "examples_overlay", "MR-SIEMENS-DICOM-WithOverlays", "MR2_J2KI", "MR2_J2KR", "MR2_UNCI"),
    *("MR2_UNCR", "bad_sequence", "eCT_Supplemental", "rtdose", "rtdose_expb", "rtdose_rle"),
}
UNSTATED = {  # their voxels are read, and right, but nobody says how large they are
    *("JPEG-LL", "JPEG-lossy", "JPEG2000", "JPEG2000_UNC", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16"),
    *("JPGExtended", "JPGLosslessP14SV1_1s_1f_8b", "RG1_J2KI", "RG1_J2KR", "RG1_UNCI", "RG1_UNCR", "RG3_J2KI"),
    *("RG3_J2KR", "RG3_UNCI", "RG3_UNCR", "emri_small", "emri_small_RLE", "emri_small_big_endian"),
    *("emri_small_jpeg_2k_lossless", "emri_small_jpeg_ls_lossless", "explicit_VR-UN", "image_dfl", "mlut_18"),
    *("emri_small_jpeg_2k_lossless_too_short", "rtdose_1frame", "rtdose_expb_1frame", "rtdose_rle_1frame", "vlut_04"),
}
LARGE = {"RG1_J2KI", "RG1_J2KR", "RG3_J2KI", "RG3_J2KR"}  # seconds to decode; the same voxels as RG1_UNCI ...


@pytest.fixture
def opened(request) -> Iterator[tuple[Path, Header | str]]:
    """A file, and what is read of it, alone in a folder if it is a slice; or what is said instead."""
    file = request.param
    with tempfile.TemporaryDirectory() as folder:
        try:
            try:
                yield file, open_dicom(file)
            except InputError as error:
                if "name the folder of its series" not in str(error):
                    raise
                shutil.copy(file, folder)
                yield file, open_dicom(Path(folder))
        except InputError as error:
            yield file, str(error)


def voxels_of(header: Header) -> np.ndarray:
    return np.concatenate(list(header.read([1] * header.shape[2])), axis=2)


@pytest.mark.parametrize("opened", FILES, ids=lambda file: file.stem, indirect=True)
def test_a_sample_is_read_right_or_one_line_says_why_not(opened, capfd):
    file, header = opened
    if isinstance(header, str):
        assert file.stem not in READ | UNSTATED
        assert "\n" not in header and len(header) < 400
    elif file.stem == "JPEG2000-embedded-sequence-delimiter":  # a spoilt stream, which GDCM notices from 3.2 on
        try:
            assert voxels_of(header).shape == header.shape
        except InputError as error:
            assert "cannot be read" in str(error)
    elif file.stem not in LARGE:
        assert file.stem in (UNSTATED if header.unstated else READ)
        voxels = voxels_of(header)
        assert capfd.readouterr().err == ""  # before ITK says something
        expected, corners = by_reference(file)
        expected = expected.astype(np.float32) if voxels.dtype == np.float32 else expected
        ours = corners_mm(header.shape, header.affine)
        if header.placed and corners is not None and np.allclose(ours[0], corners[1], atol=1e-3):
            voxels, ours = voxels[..., ::-1], ours.reshape(2, 2, 2, 3)[:, :, ::-1].reshape(8, 3)  # the other way round
        np.testing.assert_array_equal(voxels, expected)
        if header.placed and corners is not None:
            np.testing.assert_allclose(ours, corners, atol=1e-3)
        return
    assert capfd.readouterr().err == ""


def by_reference(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Voxels (i, j, k), and where the corners lie in RAS mm, if SimpleITK reads the file."""
    file = file.with_name(file.name.replace("_too_short", ""))  # it lacks the mark of its end alone
    tags = dcmread(file)
    if tags.PhotometricInterpretation == "MONOCHROME1":
        return tags.pixel_array.T[..., None], None
    if "ModalityLUTSequence" in tags:
        return apply_modality_lut(tags.pixel_array, tags).T[..., None], None
    if "DoseGridScaling" in tags:
        dose = tags.pixel_array * float(tags.DoseGridScaling)
        return dose.reshape(-1, tags.Rows, tags.Columns).T, None if dose.ndim == 2 else corners_by_itk(file)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T, corners_by_itk(file)


def corners_by_itk(file: Path) -> np.ndarray:
    image = sitk.ReadImage(str(file))
    ends = product(*((0, size - 1) for size in image.GetSize()))
    return np.multiply([image.TransformIndexToPhysicalPoint(end) for end in ends], (-1, -1, 1))


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("", "received 6 files without an image (Media Storage Directory Storage); name the folder that holds it"),
        ("77654033/CT2", "lacks 161 slices"),
        ("77654033/CR1", ""),
        ("98892001/CT2N", "slices of one orientation"),
        ("98892003/MR1", "received 3 ('FAST LOCALIZER' (number 1, 1 file, the first '15820'), "),
        ("98892003/MR2", "'T/S/C RF FAST PILOT' (number 2, 3 files, the first '4950'), "),
        ("98892003/MR700", "slices of one orientation"),
        ("TINY_ALPHA/PT000000/ST000000/SE000000", "its pixels are missing"),
    ],
)
def test_the_folders_of_a_medium_are_refused_with_their_reason(folder, said):
    if not said:
        assert open_dicom(SERIES / folder).unstated == "the size of its pixels and the thickness of its slice"
        return
    with pytest.raises(InputError) as caught:
        open_dicom(SERIES / folder)
    assert said in str(caught.value)


def test_a_series_of_a_medium_is_read_as_simpleitk_reads_it():
    folder = SERIES / "98892001" / "CT5N"
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image, header = sitk.ReadImage(files), open_dicom(folder)
    np.testing.assert_array_equal(voxels_of(header), sitk.GetArrayFromImage(image).T)
    last = image.TransformIndexToPhysicalPoint([size - 1 for size in image.GetSize()])
    np.testing.assert_allclose(corners_mm(header.shape, header.affine)[-1], np.multiply(last, (-1, -1, 1)), atol=1e-3)
