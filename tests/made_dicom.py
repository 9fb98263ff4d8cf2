"""DICOM files made by pydicom for tests: classic series, files of many frames, and objects that are no image."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

from kseg.console.errors import InputError
from kseg.volumes.read import read_volume

SPACING_MM = (0.8, 0.7, 2.0)
ORIGIN_MM = (-10.0, -20.0, 5.0)  # LPS
UID_ROOT = "1.2.826.0.1.3680043.8.498"
AXIAL = np.eye(3)


def voxels(shape: Sequence[int] = (9, 7, 6), low: int = -200, high: int = 1200) -> np.ndarray:
    """Random int16 voxels (i, j, k)."""
    return np.random.default_rng(1).integers(low, high, shape).astype(np.int16)


def dicom(kind: UID = CTImageStorage, uid: str = "1", series: str = "1", **tags: Any) -> FileDataset:
    """A DICOM object with what every object has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, f"{UID_ROOT}.2.{uid}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = kind, f"{UID_ROOT}.2.{uid}"
    made.SeriesInstanceUID, made.StudyInstanceUID = f"{UID_ROOT}.1.{series}", f"{UID_ROOT}.9"
    made.Modality, made.SeriesNumber = "CT", 1
    return with_tags(made, **tags)


def with_tags(made: Dataset, **tags: Any) -> Any:
    """Set tags by their keywords; None leaves one out."""
    for keyword, value in tags.items():
        if value is not None:
            setattr(made, keyword, value)
        elif keyword in made:
            delattr(made, keyword)
    return made


def item(**tags: Any) -> Dataset:
    """An item of a sequence."""
    return with_tags(Dataset(), **tags)


def set_pixels(made: Dataset, array: np.ndarray) -> None:
    """Grey pixels, native: (rows, columns) or (frames, rows, columns)."""
    made.Rows, made.Columns = array.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * array.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    if array.ndim > 2:
        made.NumberOfFrames = len(array)
    content = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    made.PixelData = content + bytes(len(content) % 2)
    made["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"


def save(made: FileDataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write an object; the JPEG family is packed by GDCM, RLE by pydicom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax == RLELossless:
        made.compress(RLELossless, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        made.set_original_encoding(False, False)
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    elif syntax.is_encapsulated:
        made.save_as(path, enforce_file_format=True)
        made.PixelData = packed_by_gdcm(path, syntax)
        made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(path, enforce_file_format=True)
    return path


def packed_by_gdcm(path: Path, syntax: UID) -> bytes:
    """The pixels of a native file, compressed (GDCM's writer itself would change a file's geometry)."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return dcmread(path).PixelData


def place(k: float, axes: np.ndarray = AXIAL) -> list[float]:
    """Position of slice k, LPS mm."""
    return (np.array(ORIGIN_MM) + k * SPACING_MM[2] * axes[:, 2]).round(6).tolist()


def save_series(
    folder: Path,
    array: np.ndarray,
    axes: np.ndarray = AXIAL,
    syntax: UID = ExplicitVRLittleEndian,
    series: str = "1",
    keep: Callable[[int], bool] = lambda k: True,
    **tags: Any,
) -> Path:
    """A file a slice of (i, j, k); the columns of `axes` are the directions of i, j, k; a tag may depend on k."""
    for k in range(array.shape[2]):
        if not keep(k):
            continue
        made = dicom(uid=f"{series}{k}", series=series, InstanceNumber=k + 1)
        set_pixels(made, array[:, :, k].T)
        made.ImagePositionPatient = place(k, axes)
        made.ImageOrientationPatient = axes[:, :2].T.ravel().round(12).tolist()
        made.PixelSpacing, made.SliceThickness = [SPACING_MM[1], SPACING_MM[0]], SPACING_MM[2]
        with_tags(made, **{name: value(k) if callable(value) else value for name, value in tags.items()})
        save(made, folder / f"{series}_{k:03d}.dcm", syntax)
    return folder


def frames(
    array: np.ndarray,
    order: Sequence[int] | None = None,
    kind: UID = EnhancedCTImageStorage,
    shared: dict[str, Dataset] | None = None,
    each: Callable[[int], dict[str, Dataset]] = lambda k: {},
    positions: bool = True,
    **tags: Any,
) -> FileDataset:
    """An object of many frames, frame n the slice `order[n]` of (i, j, k), with functional groups."""
    order = range(array.shape[2]) if order is None else order
    made = dicom(kind, uid="50", series="5", InstanceNumber=1)
    set_pixels(made, np.stack([array[:, :, k].T for k in order]))
    groups = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        "PixelMeasuresSequence": item(PixelSpacing=[SPACING_MM[1], SPACING_MM[0]], SliceThickness=SPACING_MM[2]),
        "PixelValueTransformationSequence": item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU"),
    } | (shared or {})
    made.SharedFunctionalGroupsSequence = [item(**{name: [group] for name, group in groups.items() if group})]
    per_frame = []
    for k in order:
        own = {"PlanePositionSequence": item(ImagePositionPatient=place(k))} if positions else {}
        per_frame.append(item(**{name: [group] for name, group in (own | each(k)).items() if group}))
    made.PerFrameFunctionalGroupsSequence = per_frame
    return with_tags(made, **tags)


def lps_affine(spacing_mm: Sequence[float] = SPACING_MM, axes: np.ndarray = AXIAL) -> np.ndarray:
    """Affine from (i, j, k) to LPS mm of what is made here."""
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    affine[:3, 3] = ORIGIN_MM
    return affine


def assert_read(path: Path, array: np.ndarray, affine_lps: np.ndarray | None = None) -> None:
    """What kseg reads has each voxel of `array` (i, j, k) where `affine_lps` puts it, within 1e-3 mm, and no other."""
    volume = read_volume(path)
    indices = np.array(list(product(*map(range, array.shape))))
    affine = np.diag([-1, -1, 1, 1]) @ (lps_affine() if affine_lps is None else affine_lps)
    places = indices @ affine[:3, :3].T + affine[:3, 3]
    found = (places - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    off_mm = (found - found.round()) * volume.spacing_mm
    assert np.abs(off_mm).max() < 1e-3
    assert volume.array.size == array.size
    x, y, z = found.round().astype(int).T
    expected = array.astype(np.float32) if volume.array.dtype == np.float32 else array  # rounded once
    np.testing.assert_array_equal(volume.array[x, y, z], expected[tuple(indices.T)])


def by_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (i, j, k) float64 and affine in LPS, as SimpleITK reads each file of a series by itself."""
    images = [sitk.ReadImage(str(file)) for file in sorted(folder.iterdir())]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(images[0].GetDirection(), (3, 3)) * images[0].GetSpacing()
    step = np.subtract(images[-1].GetOrigin(), images[0].GetOrigin()) / (len(images) - 1)
    affine[:3, 2], affine[:3, 3] = step, images[0].GetOrigin()
    return np.concatenate([sitk.GetArrayFromImage(image).T for image in images], axis=2, dtype=np.float64), affine


def line(path: Path) -> str:
    """What kseg says of a path that it refuses."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert str(path) in message
    return message
