"""Masks to measure, as a user names them: files and trees of folders, and the scans that they belong to."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import some_of
from kseg.inference.scan_likeness import FEW_VALUES
from kseg.volumes.cases.folder import content_below, whole_values
from kseg.volumes.cases.pairing import named_as_labels
from kseg.volumes.formats.extensions import split_name
from kseg.volumes.formats.open import open_voxels
from kseg.volumes.mask_hash import bears_hash
from kseg.volumes.prediction_outputs import UNCERTAINTY
from kseg.volumes.volume_stream import stream_of_file

FIRST_CHANNEL = "_0000"
"""What nnU-Net adds to the name of a scan's first channel."""
MAX_SHOWN = 3


@dataclass(frozen=True)
class MaskFile:
    """A mask, what tables call it, and its scan where there is one; the case has no file type unless it must."""

    path: Path
    case: str
    image: Path | None = None


@dataclass(frozen=True)
class MaskFiles:
    """The masks that were found; `refused` were named and cannot be measured, `skipped` are none, with the reasons."""

    masks: list[MaskFile] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)


def find_masks(paths: Sequence[Path]) -> MaskFiles:
    """Return the masks that `paths` stand for.

    A folder stands for every mask below it: volumes that kseg wrote as such, by their header, that are named as label
    maps (`kseg.volumes.cases.pairing`), or hold few values, all whole. Any other file is a mask. One that is named
    twice is measured once. Files of one name are called by their paths, seen from the folder that all have in common.
    """
    found = MaskFiles()
    cases: dict[Path, PurePath] = {}
    for path in paths:
        if not path.exists():
            found.refused[path] = f"'{path}' does not exist: correct the path."
        elif not path.is_dir():
            try:
                cases.setdefault(path, PurePath(split_name(path)[0]))
            except InputError as error:
                found.refused[path] = str(error)
        elif below := _masks_below(path, found):
            cases |= {path / one: one.parent / name for one, name in below.items()}
        else:
            found.refused[path] = (
                f"folder '{path}' holds no mask: volumes of more than {FEW_VALUES} values are taken for scans, unless "
                "their name has a word such as mask or label; name the files"
            )
    found.masks.extend(MaskFile(path, case) for path, case in _told_apart(cases).items())
    return found


def with_images(masks: Sequence[MaskFile], images: Path) -> tuple[list[MaskFile], dict[Path, str]]:
    """Return masks with their scans, and those that have none, with the reason of each.

    A scan has the name of its mask, whatever the file type, or that and "_0000". It is looked for in the same folder
    below `images` as the mask's case, then beside these folders, and in all where no other mask has that name: `x1` in
    the folder of another subject is another's. What is not beside its mask's case is told.

    Args:
        masks: to look for.
        images: a folder; or, of one mask, its scan.

    Raises:
        InputError: there is no such folder, or a scan is named for several masks.
    """
    if not images.exists():
        raise InputError(f"--images '{images}' does not exist: correct the path")
    if not images.is_dir():
        if len(masks) > 1:
            raise InputError(f"--images '{images}' is a file, and {len(masks)} masks are named: give the scans' folder")
        return [replace(mask, image=images) for mask in masks], {}
    volumes = {path: name for path, name in content_below(images).volumes.items() if not bears_hash(images / path)}
    paired, refused = [], {}
    named = {mask.path: _scans_named_as(mask, images, volumes) for mask in masks}
    of_stem = Counter(stem for stem, *_ in named.values())
    taken = {path for *_, near in named.values() for path in near}
    for mask in masks:
        stem, own, near = named[mask.path]
        is_alone = of_stem[stem] == 1
        elsewhere = [path for path in own if path not in taken and (is_alone or path.parent == PurePath())]
        if len(chosen := near or elsewhere) == 1:
            paired.append(replace(mask, image=images / chosen[0]))
            if not near:
                say(f"note: the scan of mask '{mask.path}' is taken to be '{images / chosen[0]}', by its name alone")
            continue
        there = some_of([str(path) for path in chosen], MAX_SHOWN)
        remedy = f"call one '{stem}' as the mask, or '{stem}{FIRST_CHANNEL}', or leave --images out"
        found = f"several scans in '{images}' ({there})" if there else f"no scan in '{images}'"
        if own and not there:
            others = some_of([str(path) for path in own], MAX_SHOWN)
            found = f"no scan of its own in '{images}' ({others} may be another's)"
        refused[mask.path] = f"mask '{mask.path}' has {found}: {remedy}"
    return paired, refused


def _scans_named_as(
    mask: MaskFile, images: Path, volumes: Mapping[PurePath, str]
) -> tuple[str, list[PurePath], list[PurePath]]:
    """Return a mask's name, the volumes below `images` that have it, and those of them in the folder of its case."""
    stem = split_name(mask.path)[0]
    own = [path for path, name in volumes.items() if stem in (name, name.removesuffix(FIRST_CHANNEL))]
    own = [path for path in own if not _is_same(mask.path, images / path)]
    return stem, own, [path for path in own if path.parent == PurePath(mask.case).parent]


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files are one; a link to nothing is none."""
    return other.exists() and one.samefile(other)


def _masks_below(folder: Path, found: MaskFiles) -> Mapping[PurePath, str]:
    """Return the masks below a folder and their names without the file type; what is none goes to `found`."""
    content = content_below(folder)
    found.refused.update({folder / path: reason for path, reason in content.unreadable.items()})
    named = named_as_labels(content.volumes)
    masks = {}
    for path, name in content.volumes.items():
        of_mask = path.with_name(path.name.replace(f"{UNCERTAINTY}.", ".")) if name.endswith(UNCERTAINTY) else path
        if of_mask != path and of_mask in content.volumes:
            found.skipped[folder / path] = "is the uncertainty of a mask"
        elif path in named or bears_hash(folder / path) or _holds_few_values(folder / path):
            masks[path] = name
        else:
            found.skipped[folder / path] = f"is no mask, by its name and more than {FEW_VALUES} values"
    return masks


def _holds_few_values(path: Path) -> bool:
    try:
        stream = stream_of_file(open_voxels(path))
        return stream.channels == 1 and whole_values(stream, FEW_VALUES) is not None
    except InputError:
        return True  # whoever measures it says what is wrong


def _told_apart(cases: Mapping[Path, PurePath]) -> dict[Path, str]:
    """Return what each mask is called, so that no two are called alike."""
    files = {path.resolve(): path for path in cases}.values()  # once, however often it is named
    names = {path: cases[path].as_posix() for path in files}
    if _has_twins(names):
        folders = {path: Path(os.path.abspath(path)).parent for path in files}  # noqa: PTH100 - keeps links
        common = os.path.commonpath([*folders.values()])
        names = {path: (folders[path].relative_to(common) / cases[path].name).as_posix() for path in files}
    if _has_twins(names):
        names = {path: (PurePath(names[path]).parent / path.name).as_posix() for path in files}
    return names


def _has_twins(names: Mapping[Path, str]) -> bool:
    return max(Counter(names.values()).values(), default=0) > 1
