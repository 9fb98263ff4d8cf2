"""What the page shows: cases, each an image with masks on its grid, and the structures that all masks share."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kseg.console.errors import InputError
from kseg.viewer.reduced_volume import MOST_STRUCTURES
from kseg.volumes.formats.data_files import files_of
from kseg.volumes.structure_colours import colour_of
from kseg.volumes.volume_stream import VolumeStream


@dataclass(frozen=True)
class Structure:
    """A name, its label values, and its colour, "#RRGGBB"; no two structures of a scene share a value.

    `unlabelled` are voxels of which nobody said what they are: they are shown, and count as no error and no volume.
    """

    name: str
    values: tuple[int, ...]
    colour: str
    unlabelled: bool = False


@dataclass(frozen=True)
class OpenCase:
    """The volumes of a case, on one grid, none of which has been read."""

    image: VolumeStream
    masks: Mapping[str, VolumeStream]
    """Label maps of one channel, by what the page calls them; the first is shown first."""


@dataclass(frozen=True)
class SceneCase:
    """A case, and how it is opened, anew for each reading."""

    name: str
    channels: tuple[str, ...]
    masks: tuple[str, ...]
    """What `open` will find."""
    open: Callable[[], OpenCase]
    dice: float | None = None
    expected_dice: float | None = None
    scores: tuple[tuple[str, ...], ...] = ()
    """Rows that stand beside the picture, the first of them the headings."""


@dataclass(frozen=True)
class Scene:
    """All that a page shows."""

    title: str
    cases: Sequence[SceneCase]
    structures: Sequence[Structure]
    notes: Sequence[str] = ()
    """Lines that a user should read."""
    stamps: Mapping[Path, tuple[int, int] | None] = field(default_factory=dict)
    """Files that it was made from, as they were then (`stamp`)."""

    @property
    def changed_file(self) -> Path | None:
        """A file that is no longer what it was; None where all are."""
        return next((path for path, was in self.stamps.items() if stamp(path) != was), None)


def stamp(path: Path) -> tuple[int, int] | None:
    """Return the time at which a file was written, in ns, and its size in bytes; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def stamps_of(volumes: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """Return the stamps of all files that volumes consist of."""
    return {file: stamp(file) for path in volumes for file in (path, *files_of(path))}


def structures_to_show(named: Mapping[str, Collection[int]], others: Iterable[int] = ()) -> list[Structure]:
    """Return the structures of a scene, so that each label value has one.

    Args:
        named: structures with their label values. A value that several have, as regions that lie in each other do,
            becomes a structure with their names joined.
        others: values that masks hold beside these; each becomes a structure, but those that are named.

    Raises:
        InputError: they are more than a mask in bytes takes.

    Example:
        >>> from kseg.viewer.scene import structures_to_show
        >>> [(one.name, one.values) for one in structures_to_show({"tumour": [1, 2], "core": [2]}, [3])]
        [('tumour', (1,)), ('tumour + core', (2,)), ('label 3', (3,))]
    """
    names: dict[int, tuple[str, ...]] = {}
    for name, values in named.items():
        for value in values:
            names[value] = (*names.get(value, ()), name)
    together: dict[tuple[str, ...], list[int]] = {}
    for value, own in names.items():
        together.setdefault(own, []).append(value)
    values_of: dict[str, list[int]] = {}
    unnamed = [((f"label {value}",), [value]) for value in sorted(set(others) - names.keys())]
    for own, values in (*together.items(), *unnamed):
        name = " + ".join(own)
        values_of[name if name not in values_of else f"{name} (value {values[0]})"] = list(values)
    if len(values_of) > MOST_STRUCTURES:
        raise InputError(
            f"the masks hold {len(values_of)} structures, and the page shows {MOST_STRUCTURES} at most: name those to "
            "look at by --labels NAME=VALUE, or give masks of fewer"
        )
    return [
        Structure(name, tuple(values), colour_of(number))
        for number, (name, values) in enumerate(values_of.items(), start=1)
    ]
