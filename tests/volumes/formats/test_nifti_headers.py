"""NIfTI headers as the wild has them: what nibabel and SimpleITK agree on is read so, what they do not is refused."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from damage import flipped
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kseg.console.errors import InputError
from kseg.volumes.formats.open import open_stored
from kseg.volumes.geometry import corners_mm
from kseg.volumes.read import read_volume

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
AFFINE = np.array([[0.8, 0, 0, -100.5], [0, 0.8, 0, -80.5], [0, 0, 1.5, 30.25], [0, 0, 0, 1]])
MOVED = AFFINE + np.array([[0, 0, 0, 40], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
SHEARED = AFFINE + np.array([[0, 0, 0.1, 0], [0] * 4, [0] * 4, [0] * 4])
COARSE = AFFINE @ np.diag([2, 2, 2, 1])


def header_of(sform=None, qform=None, codes=(0, 0), kind=nib.Nifti1Header, **fields) -> bytes:
    header = kind()
    header.set_data_dtype(ARRAY.dtype)
    header.set_data_shape(ARRAY.shape)
    header.set_qform(AFFINE if qform is None else qform, 1)
    header.set_sform(AFFINE if sform is None else sform, 1)
    header["sform_code"], header["qform_code"] = codes
    header["vox_offset"], header["magic"] = header.single_vox_offset, header.single_magic
    for name, value in fields.items():
        if name == "sizes":
            header["pixdim"][1:4] = value
        else:
            header[name] = value
    return header.binaryblock + bytes(4)


def write(path: Path, *arguments, **fields) -> Path:
    path.write_bytes(header_of(*arguments, **fields) + ARRAY.tobytes("F"))
    return path


def by_itk(path: Path) -> np.ndarray:
    """Corners in RAS mm as SimpleITK has them."""
    image = sitk.ReadImage(str(path))
    corners = corners_mm(ARRAY.shape, np.eye(4)).astype(int).tolist()
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners]) * (-1, -1, 1)


def ours(path: Path) -> np.ndarray:
    file = open_stored(path)
    return corners_mm(file.shape, file.geometry.affine)


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize(
    "arguments",
    [
        {"codes": (1, 0)},
        {"codes": (0, 1)},
        {"codes": (2, 1)},
        {"codes": (1, 1), "qform": MOVED},  # both readers take the scanner's sform
        {"codes": (0, 2), "sform": MOVED},
    ],
)
def test_forms_place_voxels_where_nibabel_and_simpleitk_do(tmp_path, arguments, kind):
    path = write(tmp_path / "a.nii", kind=kind, **arguments)
    if kind is nib.Nifti1Header:  # SimpleITK reads no NIfTI-2
        np.testing.assert_allclose(ours(path), by_itk(path), atol=1e-4)
    np.testing.assert_allclose(ours(path), corners_mm(ARRAY.shape, nib.load(path).affine), atol=1e-9)


def test_an_sform_of_zeros_gives_way_to_the_qform(tmp_path):
    zeros = {f"srow_{axis}": 0 for axis in "xyz"}
    path = write(tmp_path / "zeros.nii", codes=(1, 1), **zeros)
    np.testing.assert_allclose(ours(path), by_itk(path), atol=1e-4)
    alone = open_stored(write(tmp_path / "alone.nii", codes=(1, 0), **zeros))
    assert not alone.geometry.placed
    assert any("does not state where it lies" in note for note in alone.notes)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0.002, np.pi), st.integers(6, 8))
def test_a_quaternion_rounded_to_six_digits_is_read(tmp_path_factory, axis, angle, digits):
    if np.linalg.norm(axis) < 0.1:
        return
    turn = Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * angle)
    b, c, d, a = turn.as_quat()
    b, c, d = (float(f"{part * np.sign(a or 1):.{digits}g}") for part in (b, c, d))
    path = write(tmp_path_factory.mktemp("q") / "a.nii", codes=(0, 1), quatern_b=b, quatern_c=c, quatern_d=d)
    np.testing.assert_allclose(ours(path), by_itk(path), atol=0.02)


def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", codes=(0, 1), quatern_b=0, quatern_c=0.8, quatern_d=0.8)
    with pytest.raises(InputError, match="w2 should be positive"):
        open_stored(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"codes": (2, 1), "qform": MOVED},
            "states two places, one by its sform (code 2) and one by its qform (code 1)",
        ),
        (
            {"codes": (1, 1), "sform": SHEARED},
            "states two places, one by its sform (code 1) and one by its qform (code 1)",
        ),
        ({"codes": (1, 1), "qform": COARSE}, "two sizes of its voxels, 0.8 x 0.8 x 1.5 by its sform and 1.6 x 1.6 x 3"),
        (
            {"codes": (1, 0), "sizes": (0, 0.8, 1.5)},
            "two sizes of its voxels, 0.8 x 0.8 x 1.5 by its sform and 0 x 0.8",
        ),
        ({"codes": (1, 0), "sizes": (np.nan, 0.8, 1.5)}, "by its sform and nan x 0.8 x 1.5 by its pixdim"),
        ({"codes": (0, 77)}, "gives its sform and qform the codes (0, 77)"),
        ({"codes": (1, 0), "srow_x": np.nan}, "must have a finite 4x4 affine"),
        ({"codes": (1, 0), "vox_offset": 0}, "its voxels would begin at byte 0, within the header"),
        ({"codes": (1, 0), "vox_offset": 300}, "vox offset 300 too low"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path, arguments, message):
    path = write(tmp_path / "a.nii", **arguments)
    with pytest.raises(InputError) as caught:
        open_stored(path)
    assert message in str(caught.value)
    assert str(caught.value).count(str(path)) == 1  # one complaint, not one within another


def test_files_of_other_programs_are_read_by_their_content(tmp_path):
    block = header_of(codes=(1, 1)) + ARRAY.tobytes("F")
    contents = {
        "tail.nii": block + b"junk" * 9,
        "no_gzip.nii.gz": block,
        "gzipped.nii": gzip.compress(block),
        "two_members.nii.gz": gzip.compress(block[:400]) + gzip.compress(block[400:]),
        "zeros_behind.nii.gz": gzip.compress(block) + bytes(512),
        "garbage_behind.nii.gz": gzip.compress(block) + b"garbage",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY, err_msg=name)
    changed_sum = flipped(gzip.compress(block), -6)
    for name, content in (("sum.nii.gz", changed_sum), ("cut.nii.gz", gzip.compress(block)[:-9]), ("empty.nii", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("dim", [(3, -3, 4, 5), (3, -3, -4, 5), (3, 3, 0, 5), (4, 3, 4, 5, -1)])
def test_sizes_that_are_none_are_told_as_such(dim, tmp_path):
    path = write(tmp_path / "leg.nii", codes=(1, 1), dim=(*dim, *[1] * (8 - len(dim))))
    with pytest.raises(InputError, match=r"is empty: received the shape \(.*(0|-).*\); export it anew"):
        open_stored(path)
