"""Keys of the recipe that decide how cases are prepared: a recipe may not say of a dataset what it is not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kseg.console.errors import InputError
from kseg.recipe.sections import Data, Recipe
from kseg.recipe.toml_values import toml_value
from kseg.recipe.types import Spacing
from kseg.records.manifest import Manifest
from kseg.records.scans import PHANTOM
from kseg.records.write import preparation_hash
from kseg.simulation.phantom import LABELS
from kseg.volumes.dicom_seg.segments import check_codes
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import regions_by_name


def check_preparation_keys(recipe: Recipe, manifest: Manifest) -> None:
    """A run's recipe must be true of the dataset that the run is trained on, as far as the manifest lets one know.

    What the manifest does not hold is not compared: the folder or file of `data.source`, `data.assume_spacing_mm` where
    cases were prepared with some, and the section 'phantom'.

    Args:
        recipe: as the user wrote it, before the plan's values are in it (`kseg.runs.planned_recipe`).
        manifest: of the dataset in `data.records`.

    Raises:
        InputError: a key of the section 'data' contradicts the manifest, or gives a code to what is not in it.
    """
    labels = manifest.label_map
    learned = labels.structure_names if labels.regions else (*labels.foreground_names, *recipe.data.labels)
    check_codes(recipe.data.codes, {*learned} - {labels.names[0]})
    for key, prepared, said in _contradictions(recipe.data, manifest):
        raise InputError(
            f"'{recipe.data.records}' was prepared with data.{key} = {toml_value(prepared)}, the recipe says "
            f"{toml_value(said)}: prepare it again with --force, or give the recipe what it was prepared with"
        )


def _contradictions(data: Data, manifest: Manifest) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key with its value when the dataset was prepared, and that of the recipe."""
    given = data.model_fields_set
    if "source" in given and (data.source == PHANTOM) != (manifest.source == PHANTOM):
        yield "source", manifest.source, data.source  # the same files may well have another path now
    if "spacing_mm" in given and data.spacing_mm != manifest.spacing_mm:
        yield "spacing_mm", manifest.spacing_mm, data.spacing_mm
    classes = tuple(manifest.labels)[1:]
    if data.classes and set(data.classes) != set(classes):
        yield "classes", classes, data.classes
    elif all_labels := _all_labels(data, manifest):
        prepared = dict(manifest.label_map.in_files)
        wanted = {name: value for name, value in all_labels.items() if not data.classes or name in prepared}
        ignores_others = bool(data.labels) and LabelMap.from_json(data.labels).ignore != manifest.ignore
        if wanted != prepared and manifest.source == PHANTOM:
            yield "classes", classes, data.classes
        elif wanted != prepared or ignores_others:
            yield "labels", prepared, wanted
    if (data.labels or data.regions) and not _are_those_of(data.regions, manifest):
        yield "regions", {region.name: region.labels for region in manifest.regions}, data.regions
    annotation = manifest.annotation
    if "annotated_slices" in given and data.annotated_slices != annotation.across:
        yield "annotated_slices", annotation.across, data.annotated_slices
    if "empty_slices" in given and data.empty_slices != annotation.empty_value:
        yield "empty_slices", annotation.empty_value, data.empty_slices
    for key in ("val_fraction", "test_fraction"):
        prepared, said = getattr(manifest, key), getattr(data, key)
        if key in given and prepared not in (None, said):
            yield key, prepared, said
    hashes = {case.recipe for case in manifest.cases}
    if hashes == {_hash(manifest, ())} != {_hash(manifest, data.assume_spacing_mm)}:
        yield "assume_spacing_mm", (), data.assume_spacing_mm


def _are_those_of(regions: Mapping[str, Sequence[str]], manifest: Manifest) -> bool:
    """Whether regions of a recipe are a dataset's, in whatever order their labels are named."""
    given = regions_by_name(regions, manifest.label_map.names)
    ours, theirs = (
        [(region.name, set(region.labels), region.writes) for region in of] for of in (given, manifest.regions)
    )
    return ours == theirs


def _all_labels(data: Data, manifest: Manifest) -> dict[str, int]:
    """All labels of the source, where one knows them without it."""
    if manifest.source == PHANTOM:
        return LABELS.to_json()
    return dict(LabelMap.from_json(data.labels).in_files) if data.labels else {}


def _hash(manifest: Manifest, assume_spacing_mm: Spacing) -> str:
    return preparation_hash(
        manifest.label_map, manifest.channels, manifest.spacing_mm, assume_spacing_mm, manifest.annotation
    )
