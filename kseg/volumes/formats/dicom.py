"""A DICOM volume: the series in a folder, a file a slice, or a file of many frames.

The files are taken as they are, not as a series is by its first file: each plane has its own rescale, bits and place.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from pydicom.uid import RTDoseStorage

from kseg.console.errors import InputError
from kseg.console.text import counted, some_of
from kseg.volumes.formats.dicom_errors import dicom_errors, in_a_line
from kseg.volumes.formats.dicom_file import DicomFile, read_file
from kseg.volumes.formats.dicom_magic import dicom_files, is_dicom
from kseg.volumes.formats.dicom_planes import Plane, is_multi_frame, planes_of
from kseg.volumes.formats.dicom_stack import Stack, stack_of
from kseg.volumes.formats.dicom_values import read_values, type_of
from kseg.volumes.formats.extensions import DICOM_EXTENSIONS
from kseg.volumes.formats.header import Header, Read, damaged_file

MAX_NAMED = 5  # series, in a message


def open_dicom(path: Path) -> Header:
    """Read the tags of the one DICOM series in a folder, or of a file of many frames.

    Planes are put in order along their normal, values are in their units (HU in CT), of one type for all planes:
    integers where every rescale is integral, else float32. Files that are no DICOM, and DICOM objects that are no image
    (structure sets, reports, segmentations ...), are passed by.

    Raises:
        InputError: there is no series, or several; a file is damaged, of colours, or one slice of a series that its
            folder would stand for; and as `stack_of`.
    """
    stack, _ = stack_in(path)
    dtype = type_of([(plane.pixels, plane.rescale) for plane in stack.planes])
    rows, columns = stack.planes[0].pixels.shape
    shape = (columns, rows, len(stack.planes))
    return Header(
        shape, dtype, stack.affine, stack.placed, _reader(stack.planes, dtype), stack.unstated, stack.unstated_axes
    )


def stack_in(path: Path) -> tuple[Stack, list[DicomFile]]:
    """Return the planes of the one series in a folder, or of a file of many frames, in order; and their files.

    Raises:
        InputError: as `open_dicom` does.
    """
    files = _files_of(path) if path.is_dir() else [_file(path)]
    planes = [plane for file in files if file.pixels for plane in planes_of(file, file.pixels)]
    frames = len(files) == 1 and is_multi_frame(files[0])
    where = f"the series in '{path}'" if path.is_dir() else f"'{path}'"
    return stack_of(planes, where, "frame" if frames else "slice"), files


def modality_of(path: Path) -> str:
    """Return the modality that a file, or the first image of a folder, states, as "CT"; empty where there is none.

    Raises:
        InputError: a file is damaged.
    """
    files = dicom_files(path) if path.is_dir() else [path] if is_dicom(path) else []
    images = (found for file in files if (found := read_file(file)) and found.pixels)
    first = next(images, None)
    return in_a_line(first.tags.get("Modality") or "").strip() if first else ""


def _reader(planes: tuple[Plane, ...], dtype: np.dtype) -> Read:
    where = [(plane.pixels, plane.frame, plane.rescale) for plane in planes]

    def read(counts: Iterable[int]) -> Iterator[np.ndarray]:
        first = 0
        for count in counts:
            yield read_values(where[first : first + count], dtype)
            first += count

    return read


def _file(path: Path) -> DicomFile:
    file = read_file(path) if is_dicom(path) else None
    if file is None:
        raise InputError(f"'{path}' is no DICOM file: correct the path.")
    if file.pixels is None:
        raise InputError(f"'{path}' holds no image ({file.kind.name}): name a file that does.")
    if not is_multi_frame(file):
        raise InputError(f"'{path}' is one slice of a DICOM series: name the folder of its series.")
    return file


def _files_of(folder: Path) -> list[DicomFile]:
    """The images of the one series in a folder, by name."""
    files = []
    for path in sorted(folder.iterdir()):
        file = read_file(path) if is_dicom(path) else None
        if file:
            files.append(file)
        elif _is_lost(path):
            raise damaged_file(path, "it is no DICOM file, and stands where one of the series should be")
    images = [file for file in files if file.pixels]
    images = [file for file in images if file.kind != RTDoseStorage] or images  # doses lie beside what they are for
    if not images:
        kinds = ", ".join(sorted({file.kind.name for file in files}))
        found = f"{counted(len(files), 'file')} without an image ({kinds})" if files else "none"
        raise InputError(f"'{folder}' must hold one DICOM series: received {found}; name the folder that holds it.")
    # Where names of series were blotted out, or a program gave one to all that it wrote, their numbers are left.
    sizes = Counter((file.series, file.series_number) for file in images)
    if len(sizes) > 1:
        firsts = {(file.series, file.series_number): file for file in reversed(images)}
        named = some_of([_series_name(firsts[series], count) for series, count in sizes.items()], MAX_NAMED)
        each = all(map(is_multi_frame, images)) and len(sizes) == len(images)
        remedy = "name its files one by one" if each else "give each its own folder"
        raise InputError(f"'{folder}' must hold one DICOM series: received {len(sizes)} ({named}); {remedy}.")
    return images


def _is_lost(path: Path) -> bool:
    """Whether what is no DICOM file is named as one, or a link to what is not there: a slice that got lost."""
    if path.name.startswith(".") or path.is_dir():
        return False
    return path.name.lower().endswith(DICOM_EXTENSIONS) or not path.exists()


def _series_name(file: DicomFile, count: int) -> str:
    """A series in words: "'CT thorax' (number 3, 200 files, the first 'IM001')"."""
    with dicom_errors(file.path):
        number, description = file.tags.get("SeriesNumber"), in_a_line(file.tags.get("SeriesDescription") or "")
    files = f"{counted(count, 'file')}, the first '{file.path.name}'"
    known = f"number {number}, " if number not in (None, "") else ""
    return f"{repr(description) if description else file.series or 'without a name'} ({known}{files})"
