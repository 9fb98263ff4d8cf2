"""What the page shows: cases, each an image with masks on its grid, and the structures that all masks share."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kseg.console.errors import InputError
from kseg.viewer.reduced_volume import MOST_STRUCTURES
from kseg.volumes.structure_colours import colour_of
from kseg.volumes.volume_stream import VolumeStream


@dataclass(frozen=True)
class Structure:
    """A name, its label values, and its colour, "#RRGGBB"; no two structures of a scene share a value."""

    name: str
    values: tuple[int, ...]
    colour: str


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
    notes: Sequence[str] = field(default_factory=tuple)
    """Lines that a user should read."""


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
    names: dict[int, list[str]] = {}
    for name, values in named.items():
        for value in values:
            names.setdefault(value, []).append(name)
    values_of: dict[str, list[int]] = {}
    for value, own in names.items():
        values_of.setdefault(" + ".join(own), []).append(value)
    for value in sorted(set(others) - names.keys()):
        values_of[f"label {value}"] = [value]
    if len(values_of) > MOST_STRUCTURES:
        raise InputError(
            f"the masks hold {len(values_of)} structures, and the page shows {MOST_STRUCTURES} at most: name those to "
            "look at by --labels NAME=VALUE, or give masks of fewer"
        )
    return [
        Structure(name, tuple(values), colour_of(number))
        for number, (name, values) in enumerate(values_of.items(), start=1)
    ]
