"""Headers whose voxels are in other files: by name, list or pattern; SimpleITK is the reference where it can read them.

ITK takes a '%' in a name for a pattern, whatever files there are: it repeats a plane, or divides by zero.
"""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from kseg.console.errors import InputError
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.read import read_volume

ARRAY = np.random.default_rng(0).integers(-500, 500, (4, 5, 6)).astype("<i2")
WHOLE = ARRAY.tobytes("F")
PLANES = [ARRAY[:, :, k].tobytes("F") for k in range(6)]
LITERAL = (
    "leg 50%.raw",
    "leg 50%MVC.raw",
    "leg %d.raw",
    "leg %d b.raw",
    "%s.raw",
    "50% 1 6 1",
    "100%%.raw",
    "LISTed.raw",
)
PLAIN = ("other.raw", "ümläut.raw", "日本.img", "a # b;c=d: e.raw", "sub/other.raw", "../outside.raw")


def meta(path: Path, data: str, fields: str = "", binary: bool = True, lines: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"ObjectType = Image\nNDims = 3\nBinaryData = {binary}\nElementSpacing = 0.5 0.5 2\n{fields}"
        f"DimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = {data}\n{lines}",
        encoding="utf-8",
    )
    return path


def nrrd(path: Path, data: str, lines: str = "", encoding: str = "raw") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nspacings: 0.5 0.5 2\nendian: little\n"
        "# a comment: data file: no.raw\nkey:=data file: neither.raw\n"
        f"encoding: {encoding}\ndata file: {data}\n{lines}",
        encoding="utf-8",
    )
    return path


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def assert_read(path: Path, files: list[Path], by_itk: bool = True) -> None:
    """The voxels are read, as by SimpleITK, and `files` are all that they depend on."""
    np.testing.assert_array_equal(read_volume(path).array[::-1, ::-1], ARRAY)
    if by_itk:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, ARRAY)
    assert {file.resolve() for file in files_of(path)} == {file.resolve() for file in (path, *files)}


@pytest.mark.parametrize("write", [meta, nrrd])
@pytest.mark.parametrize("name", [*LITERAL, *PLAIN, "absolute"])
def test_a_name_is_taken_as_it_stands_where_a_file_bears_it(tmp_path, write, name):
    name = str(tmp_path / "elsewhere" / "x.raw") if name == "absolute" else name
    extension = ".mhd" if write is meta else ".nhdr"
    path = write(tmp_path / "scans" / f"leg{extension}", name)
    voxels = put(path.parent / name, WHOLE)
    assert_read(path, [voxels], by_itk=name not in LITERAL)


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ("slice%03d.raw 1 6 1", range(1, 7)),
        ("slice%03d.raw 1 6", range(1, 7)),  # SimpleITK divides by zero
        ("slice%d.raw 10", range(10, 16)),
        ("slice%d.raw", range(1, 7)),
        ("a slice %d of 6.raw 5 15 2", range(5, 17, 2)),
        ("100%% %02d.raw 0 5 1", range(6)),
        ("LIST", range(6)),
        ("LIST 2", range(6)),
        ("LIST 2D", range(6)),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_metaimages_of_a_file_for_each_plane_are_read(tmp_path, data, numbers, compressed):
    pattern = "a plane no. %d.raw" if data.startswith("LIST") else data.split(".raw")[0] + ".raw"
    names = [pattern % number for number in numbers]
    lines = "".join(f"{name}\n" for name in names) if data.startswith("LIST") else ""
    path = meta(tmp_path / "leg.mhd", data, f"CompressedData = {compressed}\n", lines=lines)
    files = [
        put(tmp_path / name, zlib.compress(plane) if compressed else plane)
        for name, plane in zip(names, PLANES, strict=True)
    ]
    assert_read(path, files, by_itk=data.endswith(" 1") and "%%" not in data)
    files[3].write_bytes(files[3].read_bytes()[:-3])
    with pytest.raises(InputError, match="may be damaged"):
        read_volume(path)
    files[3].unlink()
    with pytest.raises(InputError, match="which does not exist"):
        read_volume(path)


@pytest.mark.parametrize(("skipped", "before", "behind"), [(17, 17, 0), (17, 17, 9), (-1, 23, 0)])
def test_a_stated_number_of_bytes_before_the_voxels_is_skipped(tmp_path, skipped, before, behind):
    path = meta(tmp_path / "leg.mhd", "leg.raw", f"HeaderSize = {skipped}\n")
    assert_read(path, [put(tmp_path / "leg.raw", b"#" * before + WHOLE + b"#" * behind)])
    pattern = meta(tmp_path / "legs.mhd", "leg%d.raw 0 5 1", f"HeaderSize = {skipped}\n")
    files = [put(tmp_path / f"leg{k}.raw", b"#" * before + PLANES[k] + b"#" * behind) for k in range(6)]
    assert_read(pattern, files)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("slice%d.raw 1 7 1", "names 7 files of voxels and needs 6"),
        ("slice%d.raw 1 5 1", "names 5 files of voxels and needs 6"),
        ("slice%d.raw 6 1 -1", "names 0 files of voxels and needs 6"),
        ("slice%d.raw 1 6 0", "names 0 files of voxels and needs 6"),
        ("LIST", "names 0 files of voxels and needs 6"),
        ("slice%d%d.raw 1 6 1", "which does not exist"),
        ("slice%s.raw 1 6 1", "which does not exist"),
        ("50%.raw", "which does not exist"),
    ],
)
def test_names_that_do_not_fit_the_planes_are_refused(tmp_path, data, message):
    path = meta(tmp_path / "leg.mhd", data)
    for k in range(9):
        put(tmp_path / f"slice{k}.raw", PLANES[0])
    with pytest.raises(InputError, match=message):
        read_volume(path)
    assert files_of(path)


def test_text_in_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path):
    numbers = " ".join(map(str, ARRAY.ravel("F"))).encode() + b"\n"
    path = meta(tmp_path / "leg.mhd", "leg %d.txt", binary=False)
    assert_read(path, [put(tmp_path / "leg %d.txt", numbers)], by_itk=False)
    path = nrrd(tmp_path / "leg.nhdr", "leg %d b.txt", encoding="ascii")
    assert_read(path, [put(tmp_path / "leg %d b.txt", numbers)], by_itk=False)
    path = meta(tmp_path / "slices.mhd", "slice%d.txt 1 6 1", binary=False)
    texts = [" ".join(map(str, ARRAY[:, :, k].ravel("F"))).encode() for k in range(6)]  # without a new line at the end
    assert_read(path, [put(tmp_path / f"slice{k + 1}.txt", text) for k, text in enumerate(texts)], by_itk=False)
    for text, message in (
        (b"1 2 a", "could not convert"),
        (texts[0][:-9], "bytes of voxels"),
        (b"7.5 " * 20, "not all of"),
    ):
        put(tmp_path / "slice3.txt", text)
        with pytest.raises(InputError, match=message):
            read_volume(path)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("plane%d.raw 0 5 1", [f"plane{k}.raw" for k in range(6)]),
        ("plane%02d.raw 10 0 -2 2", [f"plane{k:02d}.raw" for k in range(10, -1, -2)]),
        ("LIST", [f"a plane {k}" for k in range(6)]),
        ("LIST 2", [f"a plane {k}" for k in range(6)]),
    ],
)
def test_nrrds_of_a_file_for_each_plane_are_read(tmp_path, data, names):
    path = nrrd(tmp_path / "leg.nhdr", data, lines="".join(f"{name}\n" for name in names) if "LIST" in data else "")
    assert_read(path, [put(tmp_path / name, plane) for name, plane in zip(names, PLANES, strict=True)])


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("raw", "gone.raw", r"keeps its voxels in '.*gone\.raw', which does not exist: put it there"),
        ("raw", "p%d.raw 1 6 1", r"keeps its voxels in '.*p1\.raw', which does not exist"),
        ("bzip2", "there.raw", "is packed by bzip2, which is not read: write it with gzip"),
    ],
)
def test_nrrds_whose_voxels_are_out_of_reach_are_refused_in_words_that_help(tmp_path, encoding, data, message):
    (tmp_path / "there.raw").write_bytes(WHOLE)
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nspacings: 1 1 1\nendian: little\nencoding: {encoding}\n"
    )
    (tmp_path / "leg.nhdr").write_text(f"{header}data file: {data}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_volume(tmp_path / "leg.nhdr")
    assert "damaged" not in str(caught.value)


def test_of_a_folder_only_dicom_counts(tmp_path):
    slices = [put(tmp_path / name, bytes(128) + b"DICM" + b"x") for name in ("IM0001", "IM0002.dcm")]
    for name in (".DS_Store", "Thumbs.db", "DICOMDIR", ".hidden/x.dcm", "notes.txt"):
        put(tmp_path / name, b"whatever" * 40)
    assert files_of(tmp_path) == slices


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("NDims = 3", "NDims = 99999999999", "it has the axes 99999999999"),
        ("NDims = 3", "NDims = -1", "it has the axes -1"),
        ("NDims = 3\n", "", "lacks NDims"),
        ("DimSize = 4 5 6", "DimSize = 4 5", "of 4 5 voxels"),
        ("DimSize = 4 5 6", "DimSize = 4 -5 6", "of 4 -5 6 voxels"),
        ("ElementType = MET_SHORT\n", "", "lacks ElementType"),
        ("NumberOfChannels = 1", "NumberOfChannels = ..", "ElementNumberOfChannels must be a number"),
        ("NumberOfChannels = 1", "NumberOfChannels = 0", "its voxels have 0 channels"),
        ("MET_SHORT", "MET_STRING", "voxels of the type MET_STRING"),
    ],
)
def test_headers_that_would_end_the_process_in_simpleitk_are_refused_before(tmp_path, line, instead, message):
    path = meta(tmp_path / "leg.mhd", "leg.raw", "ElementNumberOfChannels = 1\n")
    put(tmp_path / "leg.raw", WHOLE)
    path.write_text(path.read_text().replace(line, instead))
    with pytest.raises(InputError, match=message):
        read_volume(path)


@pytest.mark.parametrize("write", [meta, nrrd])
def test_voxels_in_a_pipe_or_a_device_are_refused_not_waited_for(tmp_path, write):
    os.mkfifo(tmp_path / "pipe.raw")
    for data in ("pipe.raw", "/dev/zero"):
        path = write(tmp_path / ("leg.mhd" if write is meta else "leg.nhdr"), data)
        with pytest.raises(InputError, match=rf"keeps its voxels in '.*{data}', which"):
            read_volume(path)
