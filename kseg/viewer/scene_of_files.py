"""The scene of a scan and masks in files, checked before a page shows them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kseg.console.errors import InputError
from kseg.measures.open_mask import label_values, open_mask
from kseg.recipe.types import Spacing
from kseg.viewer.scene import OpenCase, Scene, SceneCase, stamps_of, structures_to_show
from kseg.volumes.formats.extensions import split_name
from kseg.volumes.read import open_image

SCAN = "the scan"
"""As messages call it."""


def scene_of_files(
    scan: Path,
    masks: Sequence[Path],
    structures: Mapping[str, Collection[int]],
    background: int = 0,
    assume_spacing_mm: Spacing = (),
) -> Scene:
    """Return the scene of a scan.

    Args:
        scan: a file, or the folder of a DICOM series.
        masks: label maps on its grid, whoever made them.
        structures: names, each with its label values; values without a name are shown by their number.
        background: the value that is none of a structure.
        assume_spacing_mm: for files that do not state theirs.

    Raises:
        InputError: a file cannot be read, or a mask is no label map, or lies on another grid than the scan.
    """
    image = open_image([scan], scan.name, assume_spacing_mm)
    names, stamps = _told_apart(masks), stamps_of([scan, *masks])
    values: set[int] = set()
    for path in masks:
        mask = open_mask(path, assume_spacing_mm, image, SCAN)
        values |= label_values(mask, path, "name the scan first, then its masks")

    def open_case() -> OpenCase:
        image = open_image([scan], scan.name, assume_spacing_mm)
        opened = {
            name: open_mask(path, assume_spacing_mm, image, SCAN) for name, path in zip(names, masks, strict=True)
        }
        return OpenCase(image, opened)

    name = split_name(scan)[0]
    channels = tuple(f"channel {number}" for number in range(1, image.channels + 1))
    case = SceneCase(name, channels, tuple(names), open_case)
    notes = [f"'{scan}': {note}" for note in image.notes]
    return Scene(name, [case], structures_to_show(structures, values - {background}), notes, stamps)


def _told_apart(masks: Sequence[Path]) -> list[str]:
    """Return what each mask is called: its name, with so many of its folders that no two are called alike."""
    files = [path.resolve() for path in masks]
    if twice := [path for path, file in zip(masks, files, strict=True) if files.count(file) > 1]:
        raise InputError(f"mask '{twice[0]}' is named twice: name it once")
    names, depth = [path.name for path in masks], 1
    while len({*names}) < len(names):
        depth += 1
        names = ["/".join(path.absolute().parts[-depth:]) for path in masks]
    return names
