"""Regions: what is written for their probabilities, beside nnU-Net's rule; what a label may become; what is refused."""

import itertools

import numpy as np
import pytest

from kseg.console.errors import InputError
from kseg.volumes.labels import LabelMap
from kseg.volumes.regions import Region, Structures, regions_by_name

NESTED = Structures(4, regions=((1, 2, 3), (2, 3), (3,)), written=(1, 2, 3))
KIDNEYS = Structures(4, regions=((1, 2, 3), (2, 3), (2,)), written=(1, 3, 2))
BESIDE = Structures(4, regions=((1, 2, 3), (2,), (3,)), written=(1, 2, 3))
CLASSES = LabelMap(("background", "edema", "core", "enhancing"), (0, 10, 20, 40))


def nnunet(probabilities: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """`LabelManager.convert_probabilities_to_segmentation` of nnU-Net v2: regions first there, last here."""
    segmentation = np.zeros(probabilities.shape[1:], dtype=np.uint16)
    for i, c in enumerate(order):
        segmentation[probabilities[i] > 0.5] = c
    return segmentation


@pytest.mark.parametrize("structures", [NESTED, KIDNEYS, BESIDE])
def test_labels_are_written_as_by_nnunet(structures: Structures) -> None:
    probabilities = np.random.default_rng(0).random((3, 7, 6, 5)).astype(np.float32)
    probabilities[:, 0, 0] = 0.5  # is not above
    expected = nnunet(probabilities, structures.written)
    np.testing.assert_array_equal(structures.class_indices(np.moveaxis(probabilities, 0, -1)), expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3}


def test_of_classes_the_most_probable_is_written_the_first_of_equals() -> None:
    probabilities = np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    assert Structures(3).class_indices(probabilities).tolist() == [1, 0, 2]
    assert Structures(3).members == ((1,), (2,))
    assert (Structures(3).num_maps, NESTED.num_maps, Structures(3).count, KIDNEYS.count) == (3, 3, 2, 3)


@pytest.mark.parametrize("structures", [NESTED, KIDNEYS, BESIDE])
def test_the_truth_of_each_label_comes_back_as_itself(structures: Structures) -> None:
    labels = np.arange(5).reshape(1, 5, 1)  # the last is nobody's
    marks = np.stack([structures.marks(labels, number) for number in range(structures.count)], axis=-1)
    assert structures.class_indices(marks.astype(np.float32)).ravel().tolist() == [0, 1, 2, 3, 0]
    assert structures.unfaithful() is None


@pytest.mark.parametrize(
    ("structures", "number", "becomes"),
    [
        (NESTED, 0, (1, 0, 0, 0)),  # what is no tumour is nothing
        (NESTED, 1, (2, 2, 1, 1)),  # what is no core is oedema, and what becomes core lies in the tumour
        (NESTED, 2, (3, 3, 3, 2)),
        (KIDNEYS, 1, (3, 3, 1, 1)),
        (BESIDE, 1, (2, 2, 1, 3)),  # the other part keeps what is its own
        (BESIDE, 2, (3, 3, 2, 1)),
    ],
)
def test_what_a_region_loses_or_gains_by_hand(structures: Structures, number: int, becomes: tuple[int, ...]) -> None:
    assert structures.changed(number) == becomes


def test_a_recipe_names_regions_in_any_order() -> None:
    given = {"enhancing": ["enhancing"], "core": ["enhancing", "core"], "whole": ["edema", "core", "enhancing"]}
    for names in itertools.permutations(given):
        regions = regions_by_name({name: given[name] for name in names}, CLASSES.names)
        assert [(region.name, region.writes) for region in regions] == [
            ("whole", "edema"),
            ("core", "core"),
            ("enhancing", "enhancing"),
        ]
    kidneys = {"tumor": ["edema"], "masses": ["edema", "core"], "kidney": ["edema", "core", "enhancing"]}
    assert [region.writes for region in regions_by_name(kidneys, CLASSES.names)] == ["enhancing", "core", "edema"]


def test_of_labels_that_regions_do_not_tell_apart_the_first_is_written() -> None:
    for first, second in itertools.permutations(("core", "enhancing")):
        regions = regions_by_name({"all": [first, "edema", second], "edema": ["edema"]}, CLASSES.names)
        assert [region.writes for region in regions] == [first, "edema"]
        labels = LabelMap(CLASSES.names, CLASSES.values, regions=regions)
        assert labels.structure_values == {"all": (10, 20, 40), "edema": (10,)}


def test_a_label_map_names_its_structures() -> None:
    regions = regions_by_name({"left leg": ["edema", "core", "enhancing"], "core": ["core"]}, CLASSES.names)
    labels = LabelMap(CLASSES.names, CLASSES.values, regions=regions)
    assert labels.structure_names == ("left leg", "core")
    assert labels.foreground_names == ("edema", "core", "enhancing", "left leg")
    assert labels.structures == Structures(4, ((1, 2, 3), (2,)), (1, 2))
    assert CLASSES.structure_values == {"edema": (10,), "core": (20,), "enhancing": (40,)}


REFUSED = {
    "no label": ({"whole": []}, "region 'whole' names no label: give it some of edema, core, enhancing"),
    "an unknown label": ({"whole": ["oedema"]}, "'whole' has the label 'oedema', which there is not: known are edema,"),
    "the background": ({"whole": ["background", "edema"]}, "'whole' has the background 'background'"),
    "a label twice": ({"whole": ["edema", "edema"]}, "region 'whole' names a label twice"),
    "two that are one": (
        {"whole": ["edema", "core", "enhancing"], "all": ["core", "enhancing", "edema"]},
        "regions 'whole' and 'all' have the same labels: keep one",
    ),
    "a label in none": ({"tumour": ["core", "enhancing"]}, "label 'edema' is in no region: put it into one"),
    "a label that they cannot tell": (
        {"a": ["edema", "core"], "b": ["core", "enhancing"]},
        "label 'core', which is in a and b, would come back as 'enhancing'.*add a region that has 'core' alone",
    ),
    "a name that is taken": ({"ignore": ["edema", "core", "enhancing"]}, "not that of the background or of 'ignore'"),
    "a name of two lines": ({"a\nb": ["edema", "core", "enhancing"]}, "needs a name of one line"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_regions_that_are_none_get_one_line(fault: str) -> None:
    given, message = REFUSED[fault]
    with pytest.raises(InputError, match=message) as caught:
        LabelMap(CLASSES.names, CLASSES.values, regions=regions_by_name(given, CLASSES.names))
    assert "\n" not in str(caught.value)


def test_two_regions_of_one_name_are_refused() -> None:
    regions = (Region(name="a", labels=("edema", "core", "enhancing"), writes="edema"),) * 2
    with pytest.raises(InputError, match="there are two regions 'a'"):
        LabelMap(CLASSES.names, CLASSES.values, regions=regions)
