"""Label maps: which class a value in a label file stands for."""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kseg.console.errors import InputError
from kseg.console.text import some_of
from kseg.recipe.toml_values import toml_value
from kseg.volumes.regions import Region, Structures, structures_of

BACKGROUND = "background"
IGNORE = "ignore"
"""The name, in `data.labels` and dataset.json (nnU-Net's convention), of the value of voxels that nobody labelled."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # more than a line, or not Unicode
MAX_CLASSES = 65535
MAX_SHOWN = 5
MAX_VALUES = 256
"""Of a label map; what holds more is taken for an image."""
WHOLE = 1e-3  # from an integer: what a scaled header, or a resampler in float32, may leave of a label
SMALLEST_FIRST = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")


class UnknownLabelValues(InputError):
    """Voxels of a label file have values that no class has; `values` are these, sorted."""

    def __init__(self, where: str, values: Collection[float], label_map: "LabelMap") -> None:
        self.values = tuple(sorted(values))
        names = ", ".join(f"{value} {name}" for name, value in label_map.in_files)
        remedy = "name each value in the recipe's `data.labels`."
        if label_map.regions:  # these alone would make classes of them
            remedy = (
                f"put it into those of {', '.join(label_map.structure_names)} that have it, or correct the label map."
            )
        if len(self.values) > MAX_VALUES:
            remedy = "so many are those of an image: give the label map instead of it."
        super().__init__(
            f"{where} holds the values {some_of([_digits(value) for value in self.values], MAX_SHOWN)}, which no class "
            f"has: known are {names}; {remedy}"
        )


@dataclass(frozen=True)
class LabelMap:
    """Class names and the values that stand for them in label files; a class's index is its place here.

    Index 0 is the background: the class named "background", or the one with the value 0 where no class is
    named so. Values are any 64-bit integers, in any order: (0, 100, 150, 200), or with a background of -1.
    `ignore` is the value of voxels that nobody labelled, if there is one: no class, its index is `num_classes`.
    `regions` are structures that may overlap, in the order in which they are written (`kseg.volumes.regions`); where
    there are any, a network learns these instead of the classes, which stay what label files hold.

    Raises `InputError` for fewer than two or more than 65535 classes, names or values that repeat, values
    that are no integers, a background that is absent or not the first, and regions that `structures_of` refuses.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) != len(self.values):
            raise InputError(f"a label map pairs names with values: received {self.names} and {self.values}.")
        if len(self.names) < 2 or len(self.in_files) > MAX_CLASSES:
            raise InputError(
                f"a label map holds 2 to {MAX_CLASSES} classes, the background among them: received "
                f"{len(self.names)}; name the background and at least one structure in `data.labels`."
            )
        for name, value in self.in_files:
            if not (isinstance(name, str) and name.strip()) or UNPRINTABLE.search(name):
                raise InputError(f"a class name in `data.labels` must be a text of one line: received {name!r}.")
            if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
                raise InputError(f"class {name!r} in `data.labels` needs an integer: received {value!r}.")
        for what, entries in zip(("name", "value"), zip(*self.in_files, strict=True), strict=True):
            if len(set(entries)) != len(entries):
                twice = next(entry for entry in entries if entries.count(entry) > 1)
                raise InputError(f"the label {what} {twice!r} stands twice in `data.labels`: keep one.")
        if _background_of(dict(zip(self.names, self.values, strict=True))) != self.names[0]:
            raise InputError(f"the background must come first in a label map: received {self.names}.")
        for name in (region.name for region in self.regions):
            if not name.strip() or UNPRINTABLE.search(name) or name.lower() in (BACKGROUND, IGNORE):
                raise InputError(
                    f"a region needs a name of one line, which is not that of the background or of '{IGNORE}': "
                    f"received {name!r}; give it another"
                )
        structures_of(self.names, self.regions)

    @property
    def num_classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.names)

    @property
    def structures(self) -> Structures:
        """What a network learns of these labels, and masks are scored by: the regions, or else the classes."""
        return structures_of(self.names, self.regions)

    @property
    def structure_names(self) -> tuple[str, ...]:
        """Names of the regions, or else of the classes without the background."""
        return tuple(region.name for region in self.regions) or self.names[1:]

    @property
    def structure_values(self) -> dict[str, tuple[int, ...]]:
        """Each structure's name, and the values that its voxels have in a label map."""
        members = self.structures.members
        return {
            name: tuple(self.values[index] for index in own)
            for name, own in zip(self.structure_names, members, strict=True)
        }

    @property
    def foreground_names(self) -> tuple[str, ...]:
        """All names but the background's, of classes and regions."""
        return tuple(dict.fromkeys((*self.names[1:], *self.structure_names)))

    @property
    def in_files(self) -> tuple[tuple[str, int], ...]:
        """Names and values of all that a label file may hold, in the order of the indices: also what is ignored."""
        ignored = () if self.ignore is None else ((IGNORE, self.ignore),)
        return (*zip(self.names, self.values, strict=True), *ignored)

    @property
    def value_dtype(self) -> np.dtype:
        """The smallest integer type that holds all values."""
        lowest, highest = min(self.values), max(self.values)
        kinds = (np.iinfo(kind) for kind in SMALLEST_FIRST)
        return next(kind.dtype for kind in kinds if kind.min <= lowest and highest <= kind.max)

    def to_indices(self, array: np.ndarray, where: str) -> np.ndarray:
        """Class indices of the values of a label file, uint8 (uint16 from 256 classes on), same shape.

        `array` may be of any integer, Boolean or float type; a float is the integer within `WHOLE` of it. `where`
        names file and case for the message: `InputError` for values that are no whole numbers, `UnknownLabelValues` for
        those that the map does not hold.
        """
        unknown = len(self.in_files)
        indices = _map_voxels(array, self._index_of(array.dtype), index_dtype(unknown))
        if indices.max(initial=0) < unknown:
            return indices.astype(index_dtype(self.num_classes), copy=False)
        misses = np.unique(array[indices == unknown])
        fractions = misses[~is_whole(misses)]
        if fractions.size:
            raise InputError(
                f"{where} must hold whole numbers, one a class: received {_some(fractions)}; give the label "
                "map instead of an image or probabilities, or resample it with nearest neighbours."
            )
        raise UnknownLabelValues(where, misses.tolist(), self)

    def to_values(self, indices: np.ndarray) -> np.ndarray:
        """Values for class indices, same shape, of type `value_dtype`."""
        table = np.array(self.values, self.value_dtype)
        return _map_voxels(indices, lambda voxels: table[voxels], self.value_dtype)

    def to_json(self) -> dict[str, int]:
        """Mapping name -> value of the classes, background first; `from_json` reads it back."""
        return dict(zip(self.names, self.values, strict=True))

    def with_classes(self, others: Mapping[str, int]) -> "LabelMap":
        """Return the map with further classes behind its own, name -> value, and without regions, which lack them.

        Raises:
            InputError: the map is none any more; see `LabelMap`.
        """
        if not others:
            return self
        return replace(self, names=(*self.names, *others), values=(*self.values, *others.values()), regions=())

    def indices_among(self, some: "LabelMap") -> np.ndarray:
        """Return the index in `some`, a map of some of these classes, of each index here; of all others background's.

        The last of the `num_classes + 1` is that of voxels that nobody labelled.

        Example:
            >>> from kseg.volumes.labels import LabelMap
            >>> LabelMap(("background", "a", "b"), (0, 1, 2)).indices_among(LabelMap(("background", "b"), (0, 2)))
            array([0, 0, 1, 2], dtype=uint8)
        """
        indices = np.zeros(self.num_classes + 1, index_dtype(some.num_classes))
        indices[[self.names.index(name) for name in some.names]] = range(some.num_classes)
        indices[-1] = some.num_classes
        return indices

    @classmethod
    def from_json(cls, mapping: Mapping[str, int], regions: tuple[Region, ...] = ()) -> "LabelMap":
        """Label map from name -> value, as in a recipe's `data.labels`, with regions; the background moves first.

        A value named "ignore", in capitals or not, as the background, is that of voxels that nobody labelled.
        """
        classes = {name: value for name, value in mapping.items() if not is_ignore(name)}
        background = _background_of(classes)
        names = (background, *(name for name in classes if name != background))
        ignored = [name for name in mapping if name not in classes]
        if len(ignored) > 1:
            raise InputError(
                f"`data.labels` must name one value to ignore: received {' and '.join(ignored)}; keep one."
            )
        ignore = mapping[ignored[0]] if ignored else None
        return cls(names, tuple(classes[name] for name in names), ignore, regions)

    def _index_of(self, dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
        """Function from voxels of type `dtype` to indices; the one behind the last stands for all other values."""
        values = [value for _, value in self.in_files]
        unknown = len(values)
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            table = np.full(2 ** (8 * dtype.itemsize), unknown)
            for index, value in enumerate(values):
                if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
                    table[value] = index  # negative values count from the table's end, here and below
            if dtype.itemsize == 1 and unknown <= 255:
                bytewise = table.astype(np.uint8).tobytes()  # four times faster than indexing
                return lambda voxels: np.frombuffer(voxels.tobytes().translate(bytewise), np.uint8)
            return lambda voxels: table[voxels]
        is_float = dtype.kind == "f"
        wide = np.dtype("f8" if is_float else "i8")
        index_at = np.argsort(values)
        known = np.array(values, wide)[index_at]

        def search(voxels: np.ndarray) -> np.ndarray:
            wide_voxels = voxels.astype(wide)
            whole = np.rint(wide_voxels) if is_float else wide_voxels
            place = np.searchsorted(known, whole).clip(max=unknown - 1)
            # uint64 may wrap: a value must keep its sign to be known
            kept = is_whole(wide_voxels) if is_float else (wide_voxels < 0) == (voxels < 0)
            found = (known[place] == whole) & kept
            return np.where(found, index_at[place], unknown)

        return search


def is_ignore(name: str) -> bool:
    """Whether a name among labels is that of the value of voxels that nobody labelled."""
    return name.lower() == IGNORE


def labels_with(known: Mapping[str, int], values: Iterable[int]) -> dict[str, int]:
    """Return label names and their values, as in `data.labels`, with a name for each further value.

    Example:
        >>> from kseg.volumes.labels import labels_with
        >>> labels_with({"background": 0, "soleus": 100}, [100, 7, -1])
        {'background': 0, 'soleus': 100, 'label_minus_1': -1, 'label_7': 7}
    """
    labels = dict(known)
    for value in sorted(set(values) - set(known.values()), key=lambda value: (value != 0, value)):
        is_background = value == 0 and not any(name.lower() == BACKGROUND for name in labels)
        name = BACKGROUND if is_background else f"label_{value}".replace("-", "minus_")
        while name in labels:
            name += "_"
        labels[name] = value
    return labels


def labels_to_paste(labels: Mapping[str, int]) -> str:
    """Return how labels are given, on a command line (quoted for a shell) and in a recipe."""
    table = toml_value(labels)
    return f"{shlex.quote(f'data.labels={table}')} on the command line, or labels = {table} in the recipe's [data]"


def index_dtype(num_classes: int) -> np.dtype:
    """Type of class indices, read or predicted: uint8, or uint16 from 256 classes on.

    It holds one more value than there are classes, for a voxel whose value in a file no class has, or that nobody
    labelled. So 256 classes take uint16, although their indices alone would fit into uint8.
    """
    return np.dtype("uint8" if num_classes <= 255 else "<u2")


def _background_of(mapping: Mapping[str, int]) -> str:
    named = [name for name in mapping if str(name).lower() == BACKGROUND]
    zeros = [name for name, value in mapping.items() if value == 0]
    if not (named or zeros):
        raise InputError(f"`data.labels` must name a background: received {toml_value(mapping)}; add `background = 0`.")
    if len(named) > 1:
        raise InputError(f"`data.labels` must name one background: received {' and '.join(named)}; keep one.")
    return (named or zeros)[0]


def _map_voxels(array: np.ndarray, function: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> np.ndarray:
    """`function` of every voxel, in buffers, since indexing a table takes 8 bytes a voxel for a while.

    Most buffers hold one value, the background's, and are not looked up voxel by voxel.
    """
    voxels = np.nditer(
        [array, None],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"], ["writeonly", "allocate"]],
        op_dtypes=[None, dtype],
        buffersize=2**16,
    )
    with voxels:
        for source, target in voxels:
            target[...] = function(source[:1] if (source == source[:1]).all() else source)
        return voxels.operands[1]


def is_whole(values: np.ndarray) -> np.ndarray:
    """Which values are integers, but for what a scaled header, or a resampler, leaves of them."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return np.abs(values - np.rint(values)) <= WHOLE


def _some(values: np.ndarray) -> str:
    shown = [_digits(value) for value in values[:MAX_SHOWN]]
    return ", ".join(shown + ["..."] * (len(values) > MAX_SHOWN))


def _digits(value: float) -> str:
    return str(value).removesuffix(".0")
