"""Scans to segment, as a user names them: files, trees of folders, lists of cases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted, some_of
from kseg.recipe.source_name import LISTS
from kseg.volumes.cases.case import Case, CaseList
from kseg.volumes.cases.find import find_cases
from kseg.volumes.cases.folder import begins_as_image, content_below
from kseg.volumes.cases.pairing import named_as_labels
from kseg.volumes.channel_files import gather_channels, suffixes_of, with_siblings
from kseg.volumes.formats.extensions import DICOM, EXTENSIONS, split_name
from kseg.volumes.mask_hash import bears_hash

MAX_SHOWN = 5


@dataclass(frozen=True)
class Input:
    """A scan: `channels` are its files in order, or a DICOM folder; `path` stands for it in messages.

    Its mask gets the `name`, without a file type, or where that is empty the scan's own, and goes into the folder
    `place` below that of all masks. `found` is whether it was found in a folder, and not named by the user.
    """

    path: Path
    channels: tuple[Path, ...]
    name: str = ""
    place: PurePath = field(default_factory=PurePath)
    found: bool = False


@dataclass(frozen=True)
class Inputs:
    """The scans that were found; `refused` and `skipped` say why others are not segmented.

    What is refused was to be segmented and cannot be; what is skipped is no scan to segment.
    """

    scans: list[Input] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)


def find_inputs(paths: Iterable[Path], num_channels: int, channel_names: Sequence[str] = ()) -> Inputs:
    """Return the scans that `paths` stand for; other files of folders are said.

    - A folder stands for every volume and DICOM series below it, but label maps: those that are named as such
      (`kseg.volumes.cases.pairing`) and do not begin as an image does, and masks of kseg's own. Masks mirror the tree.
    - A CSV manifest, or a list in JSON, stands for the images of its cases (`kseg.volumes.cases.find`).
    - Any other file is a scan.

    For several channels, files of one scan whose names end with the channels' numbers or names are put together
    (`kseg.volumes.channel_files`), and those that lie beside one that is named are found; of one channel each file is a
    scan, under its own name.

    """
    found = Inputs()
    tree_of: dict[Path, Path | None] = {}  # of each file: the folder that was named, if it is not the file itself
    for path in paths:
        if path.suffix.lower() in LISTS and path.is_file():
            _add_listed(path, num_channels, channel_names, found)
        elif path.is_dir():
            for file in _volumes_of(path, found):
                tree_of.setdefault(file, path if file != path else None)
        else:
            tree_of[path] = None
    if num_channels > 1:
        named = [path for path, tree in tree_of.items() if tree is None]
        tree_of |= dict.fromkeys(with_siblings(named, channel_names))
    files = list({_place(file): file for file in tree_of}.values())  # once, however often it is named
    if num_channels == 1:
        scans = [(file, [file]) for file in files]
    else:
        scans, incomplete = gather_channels(files, num_channels, channel_names)
        found.refused.update(incomplete)
    for path, channels in scans:
        tree = tree_of[channels[0]]
        place = path.relative_to(tree).parent if tree else PurePath()
        found.scans.append(Input(path, tuple(channels), place=place, found=tree is not None))
    return found


def inputs_of_cases(listed: CaseList, num_channels: int, channel_names: Sequence[str] = ()) -> Inputs:
    """Return the images of cases as scans whose masks are named after the cases.

    Files of channels are put into the order of `channel_names`, where the list has the same names in another.
    """
    found = Inputs()
    theirs, ours = suffixes_of(listed.channel_names), suffixes_of(channel_names)
    reordered = len(ours) > 1 and sorted(theirs) == sorted(ours)
    if len(theirs) == len(ours) > 1 and not reordered:
        say(
            f"note: '{listed.name}' calls its channels {', '.join(theirs)}, the model {', '.join(ours)}: by their order"
        )
    for case in listed.cases:
        images = tuple(case.images[theirs.index(name)] for name in ours) if reordered else case.images
        if case.fault:
            found.refused[Path(case.case)] = case.fault
        elif len(images) in (1, num_channels):
            found.scans.append(Input(images[0], images, name=case.case))
        else:
            found.refused[Path(case.case)] = _wrong_number(case, num_channels, channel_names)
    return found


def _wrong_number(case: Case, number: int, names: Sequence[str]) -> str:
    listed = f" ({', '.join(names)})" if names else ""
    files = counted(len(case.images), "file")
    return f"case '{case.case}' has {files} of images, the model takes {counted(number, 'channel')}{listed}"


def _add_listed(file: Path, num_channels: int, channel_names: Sequence[str], found: Inputs) -> None:
    try:
        listed = inputs_of_cases(find_cases(file, images_only=True, unlabelled=True), num_channels, channel_names)
    except InputError as error:
        found.refused[file] = str(error)
        return
    found.scans.extend(listed.scans)
    found.refused.update(listed.refused)


def _place(path: Path) -> Path:
    """What two names of one thing have in common; a link is a scan of its own, with a name of its own."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _volumes_of(folder: Path, found: Inputs) -> list[Path]:
    """Return the scans below a folder; what else is there goes to `found`, or is said."""
    content = content_below(folder)
    skipped = _label_maps(folder, content.volumes)
    scans = [folder / path for path in content.volumes if path not in skipped]
    found.skipped.update({folder / path: reason for path, reason in skipped.items()})
    found.refused.update({folder / path: reason for path, reason in content.unreadable.items()})
    others = some_of(list(map(str, content.others)), MAX_SHOWN)
    if scans and others:
        say(f"passed over in '{folder}', as no scans: {others}")
    if not scans and not content.unreadable:
        holds = others or "it is empty"
        if skipped:
            holds = f"its {counted(len(skipped), 'volume')} are label maps" if len(skipped) > 1 else "but a label map"
        found.refused[folder] = (
            f"folder '{folder}' holds no scan ({holds}): name files that end in {', '.join(EXTENSIONS)}, or folders of "
            "them or of DICOM files"
        )
    return scans


def _label_maps(folder: Path, volumes: Mapping[PurePath, str]) -> dict[PurePath, str]:
    """Return which volumes below a folder are label maps, with the reason, as far as names and headers say."""
    by_name = named_as_labels(volumes)
    reasons = {}
    for path in volumes:
        if bears_hash(folder / path):
            reasons[path] = "is a mask that kseg wrote"
        elif path in by_name and not _is_image(folder / path):
            reasons[path] = "is a label map, by its name"
    return reasons


def _is_image(volume: Path) -> bool:
    try:
        return split_name(volume)[1] == DICOM or begins_as_image(volume)
    except InputError:  # what its name says stands
        return False
