"""File formats: voxels as a file stores them, and its grid. A damaged file is an `InputError`, never a guess.

NIfTI comes through nibabel, the rest through SimpleITK. Both forgive some damage in silence: nibabel leaves
the checksum of a gzip stream unread; ITK returns wrong voxels where a MetaImage does not inflate, and drops
the slices of a DICOM series that it cannot parse. What they let pass is checked here.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from kseg.console.errors import InputError
from kseg.volumes.geometry import LPS_FROM_RAS, check_affine, lps_to_ras
from kseg.volumes.volume import StoredGeometry

DICOM = "dicom"
NIFTI_EXTENSIONS = (".nii.gz", ".nii")
EXTENSIONS = (*NIFTI_EXTENSIONS, ".mha", ".mhd", ".nrrd", ".nhdr")
MM_PER_NIFTI_UNIT = {1: 1e3, 3: 1e-3}  # NIfTI-1: 1 metre, 2 mm, 3 micron, 0 unknown, which is taken as mm
UNREADABLE_NIFTI = (  # a quaternion that is no rotation is a ValueError, axes of absurd length a MemoryError
    *(ImageFileError, HeaderDataError, WrapStructError),
    *(OSError, EOFError, zlib.error, ValueError, MemoryError),
)
SLICE_TOLERANCE = 0.05  # of the distance between slices: DICOM rounds positions to decimal digits

Decoded = tuple[np.ndarray, np.ndarray, bool]  # voxels, affine in RAS mm, whether the file gives a position


def split_name(path: Path) -> tuple[str, str]:
    """Stem and file type of a volume: ("hip_017", ".nii.gz"), or (folder name, "dicom") for a folder.

    `InputError` for an unsupported extension.
    """
    if path.is_dir():
        return path.resolve().name, DICOM
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)], extension
    raise InputError(
        f"'{path}' is of an unsupported file type: convert it to one of {', '.join(EXTENSIONS)}, "
        "or give the folder of a DICOM series."
    )


def read_stored(path: Path) -> tuple[np.ndarray, StoredGeometry]:
    """Voxels (i, j, k) or (i, j, k, channels) as stored, real numbers of any type, and their grid.

    Raises `InputError` for a file that is missing, truncated, damaged, empty, of another file type or rank,
    or without a usable affine.
    """
    if not path.exists():
        raise InputError(f"'{path}' does not exist: correct the path.")
    extension = split_name(path)[1]
    read = read_dicom if extension == DICOM else read_nifti if extension in NIFTI_EXTENSIONS else read_itk
    array, affine, placed = read(path)
    array = array.reshape(*array.shape[:3], *(length for length in array.shape[3:] if length != 1))
    if array.ndim not in (3, 4):
        raise InputError(f"'{path}' must have three axes, or four with channels: received the shape {array.shape}.")
    if array.size == 0:
        raise InputError(f"'{path}' is empty: received the shape {array.shape}; export it anew.")
    if array.dtype.kind not in "biuf":
        raise InputError(f"'{path}' must hold real numbers: received the type {array.dtype}; export grey values.")
    i, j, k = array.shape[:3]
    return array, StoredGeometry((i, j, k), check_affine(affine, f"'{path}'"), extension, placed)


def read_nifti(path: Path) -> Decoded:
    """Voxels, affine in RAS mm and whether the header gives a position, of a NIfTI file.

    The affine is nibabel's: the sform where its code is set, else the qform. With neither code set the header
    only knows the spacing; nibabel then centres the grid and lets i run to the left, where SimpleITK has its
    origin at voxel 0 and j reversed. No choice could please both, hence the third value. Metres and microns
    become mm, as in ITK (nibabel leaves them).
    """
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as stream:
            second = nib.Nifti2Header.may_contain_header(stream.read(540))
            stream.seek(0)
            kind = nib.Nifti2Image if second else nib.Nifti1Image
            image = kind.from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False)
            scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
            array = image.get_fdata(dtype=np.float32) if scaled else image.dataobj.get_unscaled()
            while stream.read(2**20):  # to the end, where gzip compares its checksum
                pass
    except UNREADABLE_NIFTI as error:
        raise _damaged(path, str(error).split("\n", 1)[0] or type(error).__name__) from error
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    unit_mm = MM_PER_NIFTI_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return array, np.diag([unit_mm, unit_mm, unit_mm, 1.0]) @ image.affine, any(codes)


def read_itk(path: Path) -> Decoded:
    """Voxels and affine in RAS mm of a MetaImage or NRRD file (ITK: 1 mm, 0 where the header is silent)."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if path.suffix.lower() in (".mha", ".mhd"):
            voxel_bits = int(re.findall(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))[0])
            voxels = int(np.prod(reader.GetSize())) * reader.GetNumberOfComponents()
            _check_meta_image(path, voxels * voxel_bits // 8)
        return _decode(reader.Execute(), path)
    except RuntimeError as error:
        raise _damaged(path, _essence(error)) from error


def read_dicom(folder: Path) -> Decoded:
    """Voxels and affine in RAS mm of the one DICOM series in a folder, rescaled to its units (HU in CT).

    `InputError` for no series or several, a file that cannot be parsed, and slices that are missing, unevenly
    placed or sheared by a tilted gantry, for which the one affine of a grid cannot stand.
    """
    with _quiet_itk():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if len(series) != 1:
            found = f"{len(series)} ({', '.join(series)})" if series else "none"
            raise InputError(f"'{folder}' must hold one DICOM series: received {found}; give each its own folder.")
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
        if dropped := {file for file in folder.iterdir() if _is_dicom(file)} - {Path(file) for file in files}:
            raise _damaged(min(dropped), "no image of the series is found in it")
        try:
            image = sitk.ReadImage(files)
            array, affine, _ = decoded = _decode(image, folder)
            if len(files) == array.shape[2] > 1:
                _check_slices(folder, affine, np.array([_slice_position(file) for file in files]))
        except RuntimeError as error:
            raise _damaged(folder, _essence(error)) from error
    return decoded


def _decode(image: sitk.Image, path: Path) -> Decoded:
    axes = image.GetDimension()
    if axes < 3:
        raise InputError(f"'{path}' must hold a volume of three axes: received {image.GetSize()}.")
    array = sitk.GetArrayFromImage(image).T
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, 0, -1)
    direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]  # a fourth axis is time: channels
    return array, lps_to_ras(image.GetOrigin()[:3], image.GetSpacing()[:3], direction.ravel().tolist()), True


def _check_meta_image(path: Path, nbytes: int) -> None:
    """`InputError` unless a MetaImage has all its voxels and, if compressed, they inflate without error."""
    header: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in header and (line := file.readline()):
            key, _, value = line.decode("latin-1").partition("=")
            header[key.strip()] = value.strip()
        start = file.tell()
    if not _says(header, "BinaryData"):
        return  # written as text, of any length
    where = header.get("ElementDataFile", "")
    data = path if where == "LOCAL" else path.parent / where
    if not data.is_file():
        if "%" in where or where.startswith("LIST"):
            return  # a file for each slice: ITK reports those that are short
        raise InputError(f"'{path}' keeps its voxels in '{data}', which does not exist: put it there.")
    with data.open("rb") as file:
        file.seek(start if data == path else 0)
        if _says(header, "CompressedData"):
            received = _inflated_length(data, iter(lambda: file.read(2**16), b""))
        else:
            received = data.stat().st_size - file.tell()
    if received < nbytes:
        raise _damaged(data, f"expected {nbytes} bytes of voxels, got {received}")


def _says(header: dict[str, str], key: str) -> bool:
    return header.get(key, "").startswith(("T", "t", "1"))


def _inflated_length(path: Path, chunks: Iterator[bytes]) -> int:
    stream, length = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), 0  # zlib or gzip, as ITK accepts
    try:
        for chunk in chunks:
            length += len(stream.decompress(chunk))
    except zlib.error as error:
        raise _damaged(path, str(error)) from error
    if not stream.eof:
        raise _damaged(path, "the compressed voxels end early")
    return length


def _is_dicom(file: Path) -> bool:
    if not file.is_file() or file.name == "DICOMDIR":  # a medium's table of contents
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _slice_position(file: str) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return LPS_FROM_RAS[:3, :3] @ reader.GetOrigin()[:3]


def _check_slices(folder: Path, affine: np.ndarray, positions_mm: np.ndarray) -> None:
    """`InputError` unless the slices, (slices, 3) in RAS mm, lie where the affine puts them."""
    expected_mm = affine[:3, 3] + np.arange(len(positions_mm))[:, None] * affine[:3, 2]
    off_mm = np.linalg.norm(positions_mm - expected_mm, axis=1).max()
    if off_mm > SLICE_TOLERANCE * np.linalg.norm(affine[:3, 2]):
        raise InputError(
            f"the {len(positions_mm)} slices of the series in '{folder}' must be evenly spaced along their "
            f"normal: received one {off_mm:.4g} mm off; add what is missing, or resample a tilted series."
        )


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """No warnings of ITK on standard error: what they warn of is checked and raised here."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _damaged(path: Path, essence: str) -> InputError:
    return InputError(f"'{path}' cannot be read: {essence}; it may be damaged or cut short, fetch it anew.")


def _essence(error: RuntimeError) -> str:
    """The last line of ITK's message, which names the cause; but "Reason: No such file" misleads."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    essence = re.sub(r"^(\[\w+\] \w+: |(ITK ERROR|\w+::ERROR): (\w+\(0x[0-9a-f]+\): )?)", "", lines[-1])
    return essence.rstrip(". ")
