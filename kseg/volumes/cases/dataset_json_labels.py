"""The labels of a dataset.json: classes by value, or nnU-Net's regions, which are lists of values."""

from collections.abc import Mapping
from pathlib import Path

from kseg.console.errors import InputError
from kseg.volumes.cases.dataset_json_schema import DatasetJson
from kseg.volumes.labels import BACKGROUND, IGNORE, LabelMap, is_ignore, labels_with
from kseg.volumes.regions import Region, regions_by_name

Values = Mapping[str, int | tuple[int, ...]]


def label_map_of(said: DatasetJson, file: Path) -> LabelMap:
    """Return the label map of a description that has `labels`.

    Where one of them is a list of several values, all are regions: `regions_class_order` says, in their order, as which
    value each is written. A list of one value is that value. nnU-Net names the values of such a dataset by no more than
    their number; one that is a region by itself has the region's name here, the others are `label_1` and so on.

    Args:
        said: the description.
        file: that it is from, for messages.

    Raises:
        InputError: the labels are none, or the regions cannot tell them apart.
    """
    labels = {
        name: value[0] if isinstance(value, tuple) and len(value) == 1 else value
        for name, value in (said.labels or {}).items()
    }
    classes = {name: value for name, value in labels.items() if isinstance(value, int)}
    try:
        if len(classes) == len(labels):
            return LabelMap.from_json(classes)
        return _with_regions(labels, said.regions_class_order)
    except InputError as error:
        raise InputError(f"'{file}', `labels`: {str(error).replace('`data.labels`', 'it')}") from None


def _is_no_region(name: str, value: int) -> bool:
    return name.lower() == BACKGROUND or is_ignore(name) or value == 0


def _with_regions(labels: Values, order: tuple[int, ...] | None) -> LabelMap:
    alone = {name: value if isinstance(value, tuple) else (value,) for name, value in labels.items()}
    fixed = {name: values[0] for name, values in alone.items() if len(values) == 1 and _is_no_region(name, values[0])}
    regions = {name: values for name, values in alone.items() if name not in fixed}
    if several := [name for name in regions if name.lower() == BACKGROUND or is_ignore(name)]:
        raise InputError(
            f"'{several[0]}' has the values {', '.join(map(str, regions[several[0]]))}: it must have one, and in the "
            "label files the voxels of the others that value"
        )
    if order is None:
        raise InputError(
            "regions need `regions_class_order` beside them, the values as which they are written: add it, with a "
            f"value for each of {', '.join(regions)}"
        )
    if len(order) != len(regions):
        raise InputError(
            f"`regions_class_order` needs a value for each region, {len(regions)} ({', '.join(regions)}): received "
            f"{list(order)}; the background and '{IGNORE}' have none"
        )
    own = {values[0]: name for name, values in regions.items() if len(values) == 1}
    known = fixed | {name: value for value, name in own.items() if value not in fixed.values()}
    values = sorted({value for values in regions.values() for value in values})
    named = labels_with(known, values)
    name_of = {value: name for name, value in named.items()}
    if unknown := [value for value in order if value not in name_of]:
        raise InputError(
            f"`regions_class_order` has {unknown[0]}, which no region has: known are {', '.join(map(str, values))}"
        )
    if shared := [value for name, value in fixed.items() if is_ignore(name) and value in values]:
        raise InputError(f"the value {shared[0]} of '{IGNORE}' is in a region: give it one of its own")
    in_order = {name: named[name] for name in (*fixed, *(name_of[value] for value in values if value in name_of))}
    by_labels = {name: tuple(name_of[value] for value in of) for name, of in regions.items()}
    written = zip(by_labels.items(), order, strict=True)
    try:
        return LabelMap.from_json(
            in_order,
            tuple(Region(name=name, labels=of, writes=name_of[value]) for (name, of), value in written),
        )
    except InputError:
        if better := _better_order(by_labels, in_order):
            raise InputError(
                f"with `regions_class_order` {list(order)} a label would come back as another: {better} writes each "
                f"region of {', '.join(regions)} as the value that is in it and in none within"
            ) from None
        raise


def _better_order(regions: Mapping[str, tuple[str, ...]], values: Mapping[str, int]) -> list[int]:
    """The `regions_class_order` with which all labels come back as they are; nothing where there is none."""
    try:
        named = LabelMap.from_json(values).names
        writes = {region.name: region.writes for region in regions_by_name(regions, named)}
        LabelMap.from_json(
            values, tuple(Region(name=name, labels=of, writes=writes[name]) for name, of in regions.items())
        )
    except InputError:
        return []
    return [values[writes[name]] for name in regions]
