"""What a file does not say of its voxels' size is asked for, never guessed; what it says is what SimpleITK reads."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.open import StoredFile, open_stored
from kseg.volumes.geometry import corners_mm, spacing_mm

SHAPE = (4, 5, 6)
VOXELS = np.arange(120, dtype="<i2").tobytes()
ASSUMED = (0.3, 0.4, 2.5)
AXES = "space directions: (0.5,0,0) (0,0,2) (0,0.7,0)\nspace origin: (7,8,9)\n"


def meta(folder: Path, fields: str) -> Path:
    path = folder / "scan.mha"
    header = f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{fields}"
    path.write_bytes(f"{header}DimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + VOXELS)
    return path


def nrrd(folder: Path, fields: str, sizes: str = "4 5 6") -> Path:
    path = folder / "scan.nrrd"
    head = f"NRRD0004\ntype: short\ndimension: {len(sizes.split())}\nsizes: {sizes}\nencoding: raw\nendian: little\n"
    path.write_bytes(f"{head}{fields}\n".encode() + VOXELS)
    return path


def nifti(folder: Path, sizes: tuple[float, ...], qform_code: int = 0, unit: int = 2) -> Path:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(SHAPE)
    header.set_qform(np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 5]] * 3 + [[0] * 4]), qform_code)
    header["qform_code"], header["vox_offset"], header["magic"], header["xyzt_units"] = qform_code, 352, b"n+1", unit
    header["pixdim"][1:4] = sizes
    path = folder / "scan.nii"
    path.write_bytes(header.binaryblock + bytes(4) + VOXELS)
    return path


def assert_as_simpleitk(path: Path) -> None:
    file, image = open_stored(path), sitk.ReadImage(str(path))
    corners = corners_mm(file.shape[:3], np.eye(4)).astype(int)
    theirs = [image.TransformIndexToPhysicalPoint(corner.tolist()) for corner in corners]
    np.testing.assert_allclose(
        corners_mm(file.shape[:3], file.geometry.affine), theirs * np.array([-1, -1, 1]), atol=1e-5
    )
    assert not file.notes


def opened(path: Path, missing: str, assumed: tuple[float, ...] = ASSUMED) -> StoredFile:
    """The file under an assumption, without which it is refused with what is missing."""
    with pytest.raises(InputError) as caught:
        open_stored(path)
    assert f"'{path}' does not state the distance between its voxels along {missing}: " in str(caught.value)
    assert "data.assume_spacing_mm=[i, j, k]" in str(caught.value)
    file = open_stored(path, assumed)
    assert any("data.assume_spacing_mm" in note for note in file.notes)
    return file


@pytest.mark.parametrize(
    ("fields", "missing", "spacing"),
    [
        ("", "i, j and k", ASSUMED),
        ("elementspacing = 1 2 3\n", "i, j and k", ASSUMED),  # a key that MetaIO does not know
        ("ElementSpacing = 0,3 0,4 2,5\n", "i, j and k", ASSUMED),
        ("ElementSpacing = 0.3 0 2.5\n", "j", ASSUMED),
        ("ElementSpacing = 0.3 nan 2.5\n", "j", ASSUMED),
        ("Offset = 7 8 9\nTransformMatrix = 0 1 0 0 0 1 1 0 0\n", "i, j and k", ASSUMED),
    ],
)
def test_a_metaimage_without_spacing_is_asked_for_it(tmp_path, fields, missing, spacing):
    file = opened(meta(tmp_path, fields), missing)
    assert spacing_mm(file.geometry.affine) == pytest.approx(spacing)
    if "Offset" in fields:  # the place and the axes are stated: the first is LPS y, and so on
        expected = np.array([[0, 0, -2.5, -7], [-0.3, 0, 0, -8], [0, 0.4, 0, 9], [0, 0, 0, 1]])
        np.testing.assert_allclose(file.geometry.affine, expected, atol=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        "ElementSpacing = 0.5 0.7 2\n",
        "ElementSize = 0.5 0.7 2\n",
        "ElementSpacing: 0.5 0.7 2\nElementSize = 9 9 9\n",
        "ElementSpacing = 0.5 -0.7 2\n",  # turns j round
        "ElementSpacing = 0.5 0.7 2\nDistanceUnits = mm\n",
        *(f"ElementSpacing = 0.5 0.7 2\n{key} = 7 8 9\n" for key in ("Offset", "Position", "Origin")),
        *(
            f"ElementSpacing = 0.5 0.7 2\n{key} = 0 1 0 0 0 1 1 0 0\n"
            for key in ("TransformMatrix", "Rotation", "Orientation")
        ),
        "ElementSpacing = 0.5 0.7 2\nAnatomicalOrientation = RAS\n",  # words that ITK, which writes them, never reads
    ],
)
def test_a_metaimage_lies_where_simpleitk_has_it(tmp_path, fields):
    assert_as_simpleitk(meta(tmp_path, fields))


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ("", "i, j and k"),
        ("thicknesses: 1 2 3\n", "i, j and k"),
        ("space: RAS\n", "i, j and k"),
        ("spacings: nan nan nan\n", "i, j and k"),
        ("spacings: 0.3 nan 2.5\n", "j"),
        ("space: LPS\nspace directions: none none none\n", "i, j and k"),
        ("space: LPS\nspace directions: (0.3,0,0) (0,0.4,0) none\n", "k"),
    ],
)
def test_an_nrrd_without_spacing_is_asked_for_it(tmp_path, fields, missing):
    assert spacing_mm(opened(nrrd(tmp_path, fields), missing).geometry.affine) == pytest.approx(ASSUMED)


@pytest.mark.parametrize("space", ["", "LPS", "left-posterior-superior", "RAS", "scanner-xyz", "3D-right-handed"])
def test_an_nrrd_lies_where_simpleitk_has_it(tmp_path, space):
    assert_as_simpleitk(nrrd(tmp_path, f"space: {space}\n{AXES}" if space else f"space dimension: 3\n{AXES}"))
    assert_as_simpleitk(nrrd(tmp_path, "spacings: 0.5 0.7 2\n"))


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        (
            f"space: RAS\n{AXES.replace('directions: ', 'directions: none ')}kinds: vector domain domain domain\n",
            "2 3 4 5",
        ),
        (f"space: RAS\n{AXES.replace('(0,0.7,0)', '(0,0.7,0) none')}kinds: domain domain domain list\n", "3 4 5 2"),
        ('spacings: nan 0.5 0.7 2\nkinds: list domain domain domain\nunits: "" "mm" "mm" "mm"\n', "2 3 4 5"),
        ("spacings: 0.5 0.7 2 nan\n", "3 4 5 2"),
    ],
)
def test_an_axis_of_channels_needs_no_spacing(tmp_path, fields, sizes):
    assert open_stored(nrrd(tmp_path, fields, sizes)).shape == (3, 4, 5, 2)
    if "kinds" in fields:
        assert_as_simpleitk(nrrd(tmp_path, fields, sizes))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (lambda folder: nrrd(folder, f"space: 3D-left-handed\n{AXES}"), "'3D-left-handed', which some readers mirror"),
        (lambda folder: nrrd(folder, f"space: LAS\n{AXES}"), "'LAS', which some readers mirror"),
        (
            lambda folder: nrrd(
                folder,
                "space: RAST\nspace directions: (1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,1)\n",
                "3 4 5 2",
            ),
            "'RAST', which some readers mirror",
        ),
        (lambda folder: nrrd(folder, "space: LPS\nspacings: 1 2 3\n"), "`spacings` in a `space`"),
        (lambda folder: nrrd(folder, f'space: LPS\nspace units: "um" "um" "um"\n{AXES}'), "gives its lengths in um"),
        (lambda folder: nrrd(folder, 'spacings: 1 2 3\nunits: "cm" "cm" "cm"\n'), "gives its lengths in cm (units)"),
        (lambda folder: meta(folder, "ElementSpacing = 1 1 1\nDistanceUnits = um\n"), "gives its lengths in um"),
        (lambda folder: meta(folder, "ElementSpacing = 1 1\n"), "ElementSpacing must be 3 numbers, and is 1 1"),
        (lambda folder: meta(folder, "Offset = 4\nElementSpacing = 1 1 1\n"), "Offset must be 3 numbers, and is 4"),
        (lambda folder: meta(folder, "Offset =\nElementSpacing = 1 1 1\n"), "Offset must be 3 numbers, and is nothing"),
        (lambda folder: meta(folder, "a stray\nElementSpacing = 1 1 1\n"), "its header has the line 'a stray'"),
        (
            lambda folder: meta(folder, "ElementSpacing = 1 1 1\nTransformMatrix = 1 0 0 0 1 0\n"),
            "TransformMatrix must be 9 numbers",
        ),
        (
            lambda folder: meta(folder, "ElementSpacing = 1 1 1\nTransformMatrix = 2 0 0 0 1 0 0 0 1\n"),
            "must have axes (TransformMatrix) of length 1: received 2, 1, 1",
        ),
    ],
)
def test_what_readers_would_mirror_or_scale_is_refused(tmp_path, path, message):
    with pytest.raises(InputError) as caught:
        open_stored(path(tmp_path))
    assert message in str(caught.value)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(
    ("sizes", "missing"), [((0, 0, 0), "i, j and k"), ((0.3, -0.4, 2.5), "j"), ((0.3, 0.4, np.nan), "k")]
)
def test_a_nifti_without_spacing_is_asked_for_it_and_lies_as_one_that_has_it(tmp_path, sizes, missing, code, capfd):
    file = opened(nifti(tmp_path, sizes, code), missing)
    whole = open_stored(nifti(tmp_path, ASSUMED, code))
    np.testing.assert_allclose(file.geometry.affine, whole.geometry.affine, atol=1e-6)
    assert file.geometry.placed == whole.geometry.placed == bool(code)
    assert any("nor which side is left" in note for note in whole.notes) == (code == 0)
    assert capfd.readouterr() == ("", "")  # nibabel logs what it repairs


@pytest.mark.parametrize("unit", [1, 3])
def test_an_assumed_spacing_is_in_mm_whatever_the_unit(tmp_path, unit):
    per_mm = {1: 1e-3, 3: 1e3}[unit]
    file = opened(nifti(tmp_path, (0.3 * per_mm, 0, 2.5 * per_mm), 1, unit), "j")
    assert spacing_mm(file.geometry.affine) == pytest.approx(ASSUMED)


def test_what_a_file_states_is_not_overruled(tmp_path):
    for path in (meta(tmp_path, "ElementSpacing = 0.3 0 2.5\n"), nifti(tmp_path, (0.3, 0, 2.5))):
        with pytest.raises(
            InputError, match=r"states 0\.3 mm .* along i, data\.assume_spacing_mm 0\.4: give what it states"
        ):
            open_stored(path, (0.4, 0.4, 2.5))
    with pytest.raises(InputError, match=r"states 1 mm .* along k, data\.assume_spacing_mm 2"):
        open_stored(nrrd(tmp_path, "spacings: nan 1 1\n"), (2.0, 1.0, 2.0))
    stated = meta(tmp_path, "ElementSpacing = 0.5 0.7 2\n")
    assert spacing_mm(open_stored(stated, ASSUMED).geometry.affine) == pytest.approx((0.5, 0.7, 2))
    assert not open_stored(stated, ASSUMED).notes
