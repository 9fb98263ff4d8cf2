"""Slices that nobody annotated, across each axis and whichever way a file is read, against a plain computation."""

from collections.abc import Sequence

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.recipe.types import AXES
from kseg.volumes.annotated_slices import Annotation, sliced_axes
from kseg.volumes.labels import LabelMap
from kseg.volumes.stored_geometry import StoredGeometry
from kseg.volumes.volume import Volume
from kseg.volumes.volume_stream import VolumeStream, gather, stream_of_volume

SHAPE = (5, 70, 6)
LEG = LabelMap(("background", "soleus"), (0, 100))


def stream(indices: np.ndarray, axis: int = 0, downwards: bool = False) -> VolumeStream:
    return stream_of_volume(Volume(indices, np.eye(4), StoredGeometry(SHAPE, np.eye(4), ".nii.gz")), axis, downwards)


def across(axis: str, planes: Sequence[int]) -> tuple[slice | Sequence[int], ...]:
    return tuple(planes if name == axis else slice(None) for name in AXES)


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("along", [0, 1, 2])
@pytest.mark.parametrize("axis", AXES)
def test_slices_without_foreground_are_not_labelled(axis: str, along: int, downwards: bool) -> None:
    rng, length = np.random.default_rng(0), SHAPE[AXES.index(axis)]
    indices = np.zeros(SHAPE, np.uint8)
    annotated = [0, length - 2]
    indices[across(axis, annotated)] = rng.integers(0, 2, indices[across(axis, annotated)].shape)
    found = Annotation(across=axis).of_annotated_slices(stream(indices, along, downwards), 2)
    expected = np.full(SHAPE, 2, np.uint8)
    expected[across(axis, annotated)] = indices[across(axis, annotated)]
    np.testing.assert_array_equal(gather(found, "labels").array[..., 0], expected)
    assert found.notes == (f"2 of {length} slices across {axis} are annotated",)


def test_a_slice_that_is_annotated_and_empty_is_told_by_a_value_of_its_own() -> None:
    annotation = Annotation(across="z", empty_value=7)
    in_files = annotation.label_map_of_files(LabelMap(("background", "soleus"), (0, 100), ignore=255))
    values = np.zeros(SHAPE, np.uint8)
    values[1, 1, 0], values[2, 2, 2] = 100, 7
    values[3, 3, 2], values[4, 4, 4] = 255, 255  # what is ignored says nothing about a slice
    found = annotation.of_annotated_slices(stream(in_files.to_indices(values, "label")), 2)
    expected = np.full(SHAPE, 2, np.uint8)
    expected[..., [0, 2]] = 0
    expected[1, 1, 0], expected[3, 3, 2] = 1, 2
    np.testing.assert_array_equal(gather(found, "labels").array[..., 0], expected)


def test_all_slices_count_where_nothing_is_said() -> None:
    indices = np.zeros(SHAPE, np.uint8)
    given = stream(indices)
    assert Annotation().of_annotated_slices(given, 2) is given
    assert Annotation().label_map_of_files(LEG) is LEG


@pytest.mark.parametrize("classes", [254, 255, 256])
def test_the_number_of_classes_decides_the_type_and_no_index_overflows(classes: int) -> None:
    values = (0, *range(2, classes + 1))
    label_map = LabelMap(("background", *(f"part_{value}" for value in values[1:])), values, ignore=1)
    annotation = Annotation(across="x", empty_value=1000)
    of_file = np.zeros(SHAPE, np.int16)
    of_file[0, 0, :3], of_file[1, 0, 0], of_file[2, 0, 0] = (classes, 1, 2), 1000, 1
    read = annotation.label_map_of_files(label_map).to_indices(of_file, "label")
    found = gather(annotation.of_annotated_slices(stream(read), classes), "labels").array[..., 0]
    assert found[0, 0, :3].tolist() == [classes - 1, classes, 1]
    assert (found[1] == 0).all()
    assert (found[2:] == classes).all()


def test_the_value_of_empty_slices_is_no_classes() -> None:
    with pytest.raises(InputError, match=r"data\.empty_slices = 100 is the value of .soleus."):
        Annotation(across="z", empty_value=100).label_map_of_files(LEG)


@pytest.mark.parametrize(
    ("planes", "sliced"),
    [
        ("..#...#...#..", True),
        ("..##...##...##", True),
        ("#...#", False),  # two pieces may be two structures
        ("..#.#.#.#", False),  # thin structures close to each other
        ("..###...###...###", False),
        (".............", False),
        ("#############", False),
    ],
)
def test_single_slices_with_empty_ones_between_look_like_annotated_slices(planes: str, sliced: bool) -> None:
    whole = np.ones(9, bool)
    across = np.array([plane == "#" for plane in planes])
    assert sliced_axes([whole, across, whole]) == (["y"] if sliced else [])


def test_another_axis_than_that_of_the_slices_is_told_of() -> None:
    indices = np.zeros(SHAPE, np.uint8)
    indices[1:4, ::10, 1:4] = 1
    found = Annotation(across="x").of_annotated_slices(stream(indices), 2)
    assert found.notes[1].endswith("prepare with data.annotated_slices=y, not x")
