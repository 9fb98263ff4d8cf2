"""Hole filling and the largest component, against SciPy and SimpleITK; and which of them are chosen."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from kseg.console.errors import InputError
from kseg.inference.postprocessing import fill_holes, keep_largest_component, postprocess
from kseg.inference.postprocessing_choice import (
    choose_operations,
    load_postprocessing,
    save_postprocessing,
    try_operations,
)
from kseg.runs.owned_files import POSTPROCESSING_FILE
from kseg.volumes.regions import Structures

FILL, LARGEST = ("fill_holes",), ("largest_component",)
BOTH = ("fill_holes", "largest_component")


@pytest.fixture(params=[0.2, 0.5, 0.8])
def labels(request: pytest.FixtureRequest) -> np.ndarray:
    """Three classes in lumps, with holes and pieces, and background around."""
    rng = np.random.default_rng(6)
    noise = ndimage.gaussian_filter(rng.normal(size=(22, 19, 20)), 1.0)
    lumps = np.where(noise > np.quantile(noise, request.param), rng.integers(1, 4, (22, 19, 20)), 0)
    lumps[:2] = 0
    return lumps.astype(np.uint8)


@pytest.mark.parametrize("slab_voxels", [1, 2000, 10**6])
def test_holes_are_those_of_scipy_and_only_background_is_filled(labels: np.ndarray, slab_voxels: int) -> None:
    for index in (1, 2, 3):
        filled = labels.copy()
        fill_holes(filled, index, slab_voxels)
        enclosed = ndimage.binary_fill_holes(labels == index)
        np.testing.assert_array_equal(filled, np.where((labels == 0) & enclosed, index, labels))


@pytest.mark.parametrize("slab_voxels", [1, 2000, 10**6])
def test_the_largest_component_is_that_of_simpleitk(labels: np.ndarray, slab_voxels: int) -> None:
    for index in (1, 2, 3):
        kept = labels.copy()
        keep_largest_component(kept, index, slab_voxels)
        mask = sitk.GetImageFromArray((labels == index).astype(np.uint8))
        by_size = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(mask, True)))
        assert np.sum(by_size == 1) > np.sum(by_size == 2), "the test needs one largest component"
        np.testing.assert_array_equal(kept, np.where((labels == index) & (by_size != 1), 0, labels))


def test_of_components_of_one_size_the_first_stays() -> None:
    labels = np.zeros((9, 3, 3), np.uint8)
    labels[1, 1, 1], labels[7, 2, 2], labels[4, 0, 0] = 1, 1, 1
    keep_largest_component(labels, 1)
    assert np.argwhere(labels).tolist() == [[1, 1, 1]]


def test_a_class_that_is_absent_stays_absent() -> None:
    labels = np.full((3, 3, 3), 2, np.uint8)
    postprocess(labels, [BOTH, BOTH, BOTH], Structures(4))
    np.testing.assert_array_equal(labels, 2)


def test_operations_reach_their_classes_alone() -> None:
    """A shell around background and a block, both of class 1, whose pieces stay; class 2 has two specks, which stay."""
    labels = np.zeros((12, 8, 8), np.uint8)
    labels[1:6, 1:6, 1:6] = 1
    labels[2:5, 2:5, 2:5] = 0
    labels[8:12] = 1
    labels[7, 0, 0] = 2
    labels[0, 7, 7] = 2
    only_filled = labels.copy()
    postprocess(only_filled, [FILL, ()], Structures(3))
    expected = labels.copy()
    expected[2:5, 2:5, 2:5] = 1
    np.testing.assert_array_equal(only_filled, expected)


def test_a_hole_that_is_filled_counts_for_the_size_of_its_component() -> None:
    """A shell of 98 voxels around 27, beside a block of 108: with its hole the shell is the larger."""
    labels = np.zeros((14, 7, 7), np.uint8)
    labels[0:5, 0:5, 0:5] = 1
    labels[1:4, 1:4, 1:4] = 0
    labels[7:10, 0:6, 0:6] = 1
    postprocess(labels, [BOTH], Structures(2))
    expected = np.zeros_like(labels)
    expected[0:5, 0:5, 0:5] = 1
    np.testing.assert_array_equal(labels, expected)


def test_the_dice_of_a_trial_is_that_of_the_case_after_postprocessing(labels: np.ndarray) -> None:
    truth = np.roll(labels, 1, axis=0)
    for operations in ((), FILL, LARGEST, BOTH):
        after = labels.copy()
        postprocess(after, [operations] * 3, Structures(4))
        for index, trial in enumerate(try_operations(truth, labels, Structures(4)), start=1):
            here, there = after == index, truth == index
            assert trial[operations] == pytest.approx(2 * np.sum(here & there) / (here.sum() + there.sum()))


def test_a_class_in_neither_mask_is_not_scored() -> None:
    present = np.ones((3, 3, 3), np.uint8)
    first, second = try_operations(present, present, Structures(3))
    assert set(first.values()) == {1.0}
    assert set(second.values()) == {None}


def trial(raw: float | None, fill: float | None, largest: float | None, both: float | None):  # type: ignore[no-untyped-def]
    return {(): raw, FILL: fill, LARGEST: largest, BOTH: both}


CHOICES = {
    "both help": ([trial(0.5, 0.6, 0.7, 0.8)] * 5, BOTH),
    "four cases are too few": ([trial(0.5, 0.6, 0.7, 0.8)] * 4, ()),
    "neither changes anything": ([trial(0.5, 0.5, 0.5, 0.5)] * 6, ()),
    "one helps": ([trial(0.5, 0.4, 0.7, 0.6)] * 5, LARGEST),
    "the second helps no more beside the first": ([trial(0.5, 0.6, 0.7, 0.6)] * 5, FILL),
    "every case gains a little": ([trial(0.5, 0.5021, 0.5, 0.5021)] * 5, FILL),
    "every case gains too little": ([trial(0.5, 0.5019, 0.5, 0.5019)] * 5, ()),
    # Gains of 0.1 and four of 0: mean 0.02, standard error 0.02.
    "one case alone gains": ([trial(0.5, 0.6, 0.5, 0.6), *[trial(0.5, 0.5, 0.5, 0.5)] * 4], ()),
    # Gains of 0.1, 0.1 and three of 0: mean 0.04, standard error 0.0245.
    "two of five gain": ([*[trial(0.5, 0.6, 0.5, 0.6)] * 2, *[trial(0.5, 0.5, 0.5, 0.5)] * 3], FILL),
    # Mean 0.114, standard error 0.076.
    "it raises the mean by two cases, and lowers three": (
        [*[trial(0.5, 0.5, 0.8, 0.8)] * 2, *[trial(0.5, 0.5, 0.49, 0.49)] * 3],
        (),
    ),
    "it lowers the mean by one case, and raises five": (
        [trial(0.9, 0.9, 0.1, 0.1), *[trial(0.5, 0.5, 0.6, 0.6)] * 5],
        (),
    ),
    "it raises as many as it lowers, and the mean": (
        [*[trial(0.5, 0.5, 0.9, 0.9)] * 3, *[trial(0.5, 0.5, 0.49, 0.49)] * 3],
        LARGEST,
    ),
    # Mean 0.25, standard error 0.05: but the last case has the structure twice.
    "one case loses a piece of the structure": (
        [*[trial(0.5, 0.5, 0.8, 0.8)] * 9, trial(0.5, 0.5, 0.45, 0.45)],
        (),
    ),
    "cases without the class have no say": ([trial(None, None, None, None), *[trial(0.5, 0.6, 0.5, 0.6)] * 5], FILL),
    "cases without the class do not count": ([trial(None, None, None, None), *[trial(0.5, 0.6, 0.5, 0.6)] * 4], ()),
    "no case has the class": ([trial(None, None, None, None)] * 5, ()),
}


@pytest.mark.parametrize("name", CHOICES)
def test_an_operation_is_chosen_where_five_cases_gain_more_than_chance_explains(name: str) -> None:
    trials, expected = CHOICES[name]
    choice = choose_operations([[of_case] for of_case in trials], ["muscle"], ["hash"])
    assert choice.operations == {"muscle": expected}
    scored = [of_case[expected] for of_case in trials if of_case[()] is not None]
    assert choice.classes["muscle"].dice_after == (pytest.approx(np.mean(scored)) if scored else None)


@pytest.mark.parametrize(
    ("cases", "gain", "said"),
    [
        (1, 0.1, "none (1 validation case cannot tell a gain from chance; 5 are needed)"),
        (4, 0.1, "none (4 validation cases cannot tell a gain from chance; 5 are needed)"),
        (5, 0.001, "none (on 5 validation cases no class gained more than chance explains)"),
        (5, 0.1, "muscle fill_holes (Dice 0.5000 -> 0.6000); chosen on 5 validation cases"),
    ],
)
def test_a_line_says_what_was_chosen_or_why_nothing_was(cases: int, gain: float, said: str) -> None:
    trials = [[trial(0.5, 0.5 + gain, 0.5, 0.5 + gain)]] * cases
    assert str(choose_operations(trials, ["muscle"], ["hash"])) == said


def test_each_class_has_its_own_choice_and_it_is_applied() -> None:
    """Two pieces of either class; the truth of the first has one, that of the second both."""
    prediction = np.zeros((10, 4, 4), np.uint8)
    for index, planes in itertools.product((1, 2), ((0, 3), (5, 6))):
        prediction[slice(*planes), 2 * index - 2 : 2 * index] = index
    truth = prediction.copy()
    truth[5][truth[5] == 1] = 0
    choice = choose_operations([try_operations(truth, prediction, Structures(3))] * 5, ["tibia", "vessel"], ["hash"])
    assert choice.operations == {"tibia": LARGEST, "vessel": ()}
    choice.apply(prediction, Structures(3))
    np.testing.assert_array_equal(prediction, truth)
    assert str(choice) == "tibia largest_component (Dice 0.8571 -> 1.0000); chosen on 5 validation cases"


def test_a_choice_is_read_back_as_long_as_the_models_are_the_same(tmp_path: Path) -> None:
    assert load_postprocessing(tmp_path, ["muscle"], ["one", "two"]) is None
    choice = choose_operations([[trial(0.5, 0.6, 0.7, 0.8)]] * 5, ["muscle"], ["one", "two"])
    save_postprocessing(choice, tmp_path)
    assert load_postprocessing(tmp_path, ["muscle"], ["one", "two"]) == choice
    assert load_postprocessing(tmp_path, ["muscle"], ["one", "other"]) is None
    assert [path.name for path in tmp_path.iterdir()] == [POSTPROCESSING_FILE]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("cases"), "damaged"),
        (lambda content: content["classes"]["muscle"].update(operations=["erode"]), "damaged"),
        (lambda content: content["classes"]["muscle"].update(dice_before=None), "operations without the Dice"),
        (lambda content: content["classes"].update(bone=content["classes"]["muscle"]), "muscle, bone"),
    ],
)
def test_a_choice_that_is_damaged_or_for_other_classes_is_refused(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    save_postprocessing(choose_operations([[trial(0.5, 0.6, 0.7, 0.8)]] * 5, ["muscle"], ["one"]), tmp_path)
    content = json.loads((tmp_path / POSTPROCESSING_FILE).read_text())
    change(content)
    (tmp_path / POSTPROCESSING_FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_postprocessing(tmp_path, ["muscle"], ["one"])
